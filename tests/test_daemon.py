from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from validator import daemon as module
from validator import ticker
from validator.chain.errors import RpcFault
from validator.daemon import EXIT_HUNG, EXIT_MEMORY, HUNG_SECONDS, Daemon, NotCertified, ticker_of, tickers_of
from validator.exact.conformance.golden import read_golden
from validator.memory import Memory, available, memory_of
from validator.stages.watch import Duty, Missed
from validator.ticker import Ticker
from validator.web.health import Vitals, alive, ready


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Daemon:
    monkeypatch.setattr(module, "tick", lambda node: node.work())
    monkeypatch.setattr(ticker, "look", lambda node, before: Duty())
    return Daemon(fake(), 1.0)


def fake(name: str = "0xda0") -> SimpleNamespace:
    """A node that does what a test lets it do."""
    return SimpleNamespace(deployment=SimpleNamespace(rounds=name), work=lambda: None, close=lambda: None)


@pytest.fixture
def certified(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine was asked before, and is not what the test is about."""
    monkeypatch.setattr(module, "self_test", lambda quick, golden: SimpleNamespace(ok=True, verdict="certified"))


def tick(daemon: Daemon) -> None:
    daemon.tickers[0].run()


def test_tick__succeeds__is_counted_and_clears_failures(daemon: Daemon):
    daemon.health.failures = 3
    tick(daemon)
    assert (daemon.health.ticks, daemon.health.failures) == (1, 0)
    assert daemon.health.last_success is not None
    assert daemon.health.in_tick_since is None


@pytest.mark.parametrize("error", [RpcFault("no answer"), RuntimeError("a bug")])
def test_tick__fails__backs_off_and_goes_on(daemon: Daemon, error: Exception):
    def fail() -> None:
        raise error

    daemon.node.work = fail
    tick(daemon)
    tick(daemon)  # within the back-off: not even tried
    assert daemon.health.failures == 1
    assert "no answer" in daemon.health.last_error or "a bug" in daemon.health.last_error
    daemon.tickers[0].resume_at = 0.0
    daemon.node.work = lambda: None
    tick(daemon)
    assert (daemon.health.ticks, daemon.health.failures) == (1, 0)


def test_tick__after_stop__does_nothing(daemon: Daemon):
    daemon._scheduler.start()
    daemon._shut_down()
    tick(daemon)
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


def test_watch__ticks_fail__systemd_is_told_without_secrets(daemon: Daemon):
    said: list[str] = []
    daemon._supervisor = SimpleNamespace(status=said.append)  # type: ignore[assignment]
    daemon._watch()
    daemon.health.failures, daemon.health.last_error = 2, "https://rpc.example/?apikey=abcdef0123456789 " + "x" * 999
    daemon._watch()
    assert said[0] == "0xda0: at its first tick"
    assert said[1].startswith("0xda0: failed 2 times in a row: https://rpc.example/")
    assert "abcdef" not in said[1]
    assert len(said[1]) < 400


def test_shut_down__step_in_hand_ends_in_time__is_waited_for(daemon: Daemon):
    begun, release = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        release.wait(5)

    daemon.node.work = work
    daemon._scheduler.start()
    worker = threading.Thread(target=daemon.tickers[0].run)
    worker.start()
    begun.wait(5)
    threading.Timer(0.2, release.set).start()
    daemon.stop()
    daemon._shut_down()
    assert not worker.is_alive() or daemon.tickers[0].wait_idle(0)
    worker.join(5)


# The machine


def test_run__machine_is_certified__ticks_and_health_shows_the_certificate(daemon: Daemon):
    daemon.run(on_start=daemon.stop)
    assert daemon.health.self_test is not None
    assert alive(Vitals(daemon.health, 1.0)).self_test == daemon.health.self_test.verdict
    assert daemon.health.self_test.verdict.startswith("certified: exact version ")


def test_run__denormals_are_flushed__refuses_before_the_first_tick(daemon: Daemon):
    closed: list[str] = []
    daemon.node.close = lambda: closed.append("node")
    daemon.node.work = lambda: closed.append("tick")
    torch.ones(1 << 20).add_(1.0)  # torch's threads start now: started later they would inherit the setting for good
    assert torch.set_flush_denormal(True)
    try:
        with pytest.raises(NotCertified, match=r"denormal numbers: .* call torch\.set_flush_denormal"):
            daemon.run()
    finally:
        torch.set_flush_denormal(False)
    assert closed == ["node"]


def test_run__digests_of_another_protocol__names_the_culprit_and_health_shows_it(daemon: Daemon):
    golden = {**read_golden(), "linear": "00" * 32}
    strange = Daemon(daemon.node, 1.0, golden)
    with pytest.raises(NotCertified, match="FAILED: linear: digest"):
        strange.run()
    for answer in (alive(Vitals(strange.health, 1.0)), ready(Vitals(strange.health, 1.0))):
        assert not answer.ok
        assert answer.reason.startswith("FAILED: linear")


@pytest.mark.parametrize("stop_seconds", [1.0, pytest.param(module.STOP_SECONDS, marks=pytest.mark.slow)])
def test_sigterm__steps_that_never_end_and_all_processors_busy__ends_within_what_is_promised(stop_seconds: float):
    program = Path(__file__).with_name("loaded_daemon.py")
    words = [sys.executable, str(program), str(stop_seconds)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=Path.cwd()) as process:
        try:
            assert process.stdout is not None
            assert any(line == "started\n" for line in process.stdout)
            begun = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
            assert time.monotonic() - begun < stop_seconds + 2  # 10 s in all, as it is shipped
        finally:
            process.kill()


# Several DAOs


def test_run__one_dao_hangs_and_one_fails__the_third_goes_on(daemon: Daemon, certified: None):
    hanging, failing, working = (fake(name) for name in ("0xa", "0xb", "0xc"))
    release, worked = threading.Event(), threading.Event()
    ticks: list[int] = []

    def work() -> None:
        ticks.append(1)
        if len(ticks) == 3:
            worked.set()

    def fail() -> None:
        raise RpcFault("its endpoint is down")

    hanging.work, failing.work, working.work = lambda: release.wait(30), fail, work
    three = Daemon([ticker_of(node, 0.05) for node in (hanging, failing, working)], 0.05)

    def started() -> None:
        def end() -> None:
            worked.wait(20)
            three.stop()
            release.set()

        threading.Thread(target=end).start()

    assert three.run(on_start=started) == 0
    health = {each.name: each.health for each in three.tickers}
    assert health["0xc"].ticks >= 3
    assert health["0xb"].failures >= 1
    assert health["0xb"].last_error == "its endpoint is down"
    assert health["0xa"].failures == 0


def test_tickers_of__a_dao_that_cannot_be_opened__is_tried_again_and_alone_it_refuses():
    tries: list[int] = []

    def opener() -> SimpleNamespace:
        tries.append(1)
        if len(tries) < 3:
            raise RpcFault("not our contracts")
        return fake()

    with pytest.raises(RpcFault):
        tickers_of([("0xa", opener)], 1.0)
    late, _ = tickers_of([("0xa", opener), ("0xb", fake)], 1.0)
    assert late.opened is None
    late.run()
    assert late.health.last_error == "not our contracts"
    late.resume_at = 0.0
    late.run()
    assert late.opened is not None


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0.0, [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]), (0.999, [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0])],
)
def test_ticker__failures_go_on__pauses_double_to_a_minute_with_jitter(share: float, expected: list[float]):
    def fail(_: object) -> None:
        raise RpcFault("no answer")

    failing = Ticker("0xa", fake, fail, 1.0, jitter=lambda: share)
    pauses = []
    for _ in range(7):
        failing.resume_at = 0.0
        failing.run()
        pauses.append(failing.resume_at - time.monotonic())
    assert pauses == pytest.approx(expected, rel=0.05)


def test_ticker__a_deadline_is_missed__is_counted_once_and_is_told_until_a_round_goes_well(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
):
    missed = frozenset({Missed(7, 1, "commit")})
    seen = iter([Duty(), Duty(missed=missed), Duty(missed=missed), Duty()])
    monkeypatch.setattr(ticker, "look", lambda node, before: next(seen))
    told = []
    for _ in range(4):
        tick(daemon)
        told.append(ready(Vitals(daemon.health, 1.0)).reason)
    assert daemon.health.missed == {"commit": 1}
    assert told == ["", *["deadlines were missed: commit in round 7, attempt 1; the log says why"] * 2, ""]


# Memory


def test_watch__more_memory_than_allowed__stops_with_a_code_of_its_own(daemon: Daemon, certified: None):
    heavy = Daemon(daemon.tickers, 1.0, memory=Memory(1 << 20))
    heavy._watch()
    assert heavy.run() == EXIT_MEMORY


def test_memory__measured__is_that_of_the_process_and_its_children():
    used = Memory().used()
    assert used > 10 << 20
    assert not Memory(0).exceeded()
    assert Memory(used // 2).exceeded()
    assert not Memory(1 << 50).exceeded()


def test_memory_of__nothing_set__is_nearly_what_there_is():
    assert memory_of(None).limit == int(available() * 0.9)
    assert memory_of(0).limit == 0
    assert memory_of(512).limit == 512 << 20
