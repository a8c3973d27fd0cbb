from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import pytest
import torch

from validator import daemon as module
from validator.chain.errors import RpcFault
from validator.daemon import EXIT_HUNG, HUNG_SECONDS, Daemon, NotCertified
from validator.exact.conformance.golden import read_golden
from validator.web.health import Vitals, alive, ready


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Daemon:
    monkeypatch.setattr(module, "tick", lambda node: node.work())
    return Daemon(SimpleNamespace(work=lambda: None, journal=SimpleNamespace(close=lambda: None), identity=None), 1.0)


def test_tick__succeeds__is_counted_and_clears_failures(daemon: Daemon):
    daemon.health.failures = 3
    daemon._tick()
    assert (daemon.health.ticks, daemon.health.failures) == (1, 0)
    assert daemon.health.last_success is not None
    assert daemon.health.in_tick_since is None


@pytest.mark.parametrize("error", [RpcFault("no answer"), RuntimeError("a bug")])
def test_tick__fails__backs_off_and_goes_on(daemon: Daemon, error: Exception):
    def fail() -> None:
        raise error

    daemon.node.work = fail
    daemon._tick()
    daemon._tick()  # within the back-off: not even tried
    assert daemon.health.failures == 1
    assert "no answer" in daemon.health.last_error or "a bug" in daemon.health.last_error
    daemon._resume_at = 0.0
    daemon.node.work = lambda: None
    daemon._tick()
    assert (daemon.health.ticks, daemon.health.failures) == (1, 0)


def test_tick__after_stop__does_nothing(daemon: Daemon):
    daemon._scheduler.start()
    daemon._shut_down()
    daemon._tick()
    assert daemon.health.ticks == 0


def test_watch__step_has_hung__ends_the_process_for_its_supervisor(daemon: Daemon, monkeypatch: pytest.MonkeyPatch):
    codes: list[int] = []
    monkeypatch.setattr(module.os, "_exit", codes.append)
    daemon.health.in_tick_since = time.monotonic() - HUNG_SECONDS + 60
    daemon._watch()
    assert codes == []
    daemon.health.in_tick_since = time.monotonic() - HUNG_SECONDS - 1
    daemon._watch()
    assert codes == [EXIT_HUNG]


def test_shut_down__step_in_hand_ends_in_time__is_waited_for(daemon: Daemon):
    begun, release = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        release.wait(5)

    daemon.node.work = work
    daemon._scheduler.start()
    worker = threading.Thread(target=daemon._tick)
    worker.start()
    begun.wait(5)
    threading.Timer(0.2, release.set).start()
    daemon.stop()
    daemon._shut_down()
    assert not worker.is_alive() or daemon._idle.is_set()
    worker.join(5)


# The machine


def test_run__machine_is_certified__ticks_and_health_shows_the_certificate(daemon: Daemon):
    daemon.run(on_start=daemon.stop)
    assert daemon.health.self_test is not None
    assert alive(Vitals(daemon.health, 1.0)).self_test == daemon.health.self_test.verdict
    assert daemon.health.self_test.verdict.startswith("certified: exact version ")


def test_run__denormals_are_flushed__refuses_before_the_first_tick(daemon: Daemon):
    closed: list[str] = []
    daemon.node.journal.close = lambda: closed.append("journal")
    daemon.node.work = lambda: closed.append("tick")
    torch.ones(1 << 20).add_(1.0)  # torch's threads start now: started later they would inherit the setting for good
    assert torch.set_flush_denormal(True)
    try:
        with pytest.raises(NotCertified, match=r"denormal numbers: .* call torch\.set_flush_denormal"):
            daemon.run()
    finally:
        torch.set_flush_denormal(False)
    assert closed == ["journal"]


def test_run__digests_of_another_protocol__names_the_culprit_and_health_shows_it(daemon: Daemon):
    golden = {**read_golden(), "linear": "00" * 32}
    strange = Daemon(daemon.node, 1.0, golden)
    with pytest.raises(NotCertified, match="FAILED: linear: digest"):
        strange.run()
    for answer in (alive(Vitals(strange.health, 1.0)), ready(Vitals(strange.health, 1.0))):
        assert not answer.ok
        assert answer.reason.startswith("FAILED: linear")
