"""Shards find their way to somebody who does them, and no worker is trusted before it has shown what it computes."""

from __future__ import annotations

import dataclasses
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
import torch

from tests.influence.tiny import tiny_problem
from validator.engines import EngineError, EngineSpec, UntrustedWorker, WorkerLost, open_engine
from validator.engines.bench import Bench, Certificate, code_digest
from validator.engines.opened import devices_of
from validator.engines.pool import TRIES, Pool
from validator.engines.processes import translated
from validator.exact.conformance.golden import read_golden
from validator.influence.engine import IN_PROCESS, cut
from validator.influence.training import ResponseSettings, Training
from validator.influence.trials import train

GOOD = Certificate("here", 1, "cpu", True, "certified", code_digest())


class Hand:
    """A worker in a thread of its own. `losses`: what happens to its first jobs, "lost" or "hung"."""

    def __init__(self, certificate: Certificate = GOOD, losses: tuple[str, ...] = ()) -> None:
        self.certificate, self.dismissed, self._losses = certificate, False, list(losses)
        self._bench, self._thread = Bench("cpu", 1), ThreadPoolExecutor(1)
        self._held: set[str] = set()

    def submit(self, job: bytes, shared: dict[str, bytes]) -> Future[bytes]:
        if self._losses:
            future: Future[bytes] = Future()
            if self._losses.pop(0) == "lost":
                future.set_exception(WorkerLost("killed by a test"))
            return future
        return translated(self._thread.submit(self._bench.work, job, shared))

    def dismiss(self) -> None:
        self.dismissed = True
        self._thread.shutdown(wait=False)


def replicas_trained(pool: Pool) -> torch.Tensor:
    problem, settings = tiny_problem(), ResponseSettings(epochs=1, replicas=6)
    runs = Training(problem, settings, b"seed")
    found = pool.map(train, (runs, runs.begin(), problem.anchor), cut(6, 6))
    return torch.cat([next(iter(weights.values())) for weights in found])


def expected() -> torch.Tensor:
    return replicas_trained(IN_PROCESS)  # type: ignore[arg-type]


@pytest.mark.parametrize("how", ["lost", "hung"])
def test_map__workers_lost_in_the_middle__others_do_their_shards_and_nothing_is_missing(how: str) -> None:
    staff = iter([Hand(losses=(how,)), Hand(), Hand(losses=("lost",)), Hand(), Hand()])
    hired: list[Hand] = []

    def hire(slot: int) -> Hand:
        hired.append(next(staff))
        return hired[-1]

    pool = Pool(hire, 2, task_seconds=0.5 if how == "hung" else 60)
    assert torch.equal(replicas_trained(pool), expected())
    assert [hand.dismissed for hand in hired] == [True, False, True, False]
    pool.close()
    assert all(hand.dismissed for hand in hired)


def test_map__shard_that_costs_every_worker__is_given_up_by_name() -> None:
    pool = Pool(lambda slot: Hand(losses=("lost",)), 1)
    with pytest.raises(EngineError, match=f"lost with {TRIES} workers, the last of them here:1: killed by a test"):
        replicas_trained(pool)


def test_hire__worker_with_other_bits__is_refused_by_name() -> None:
    wrong = dict.fromkeys(read_golden(), "00" * 32)
    found = Bench("cpu", 1).certify(golden=wrong)
    worker = Hand(found)
    with pytest.raises(UntrustedWorker, match=rf"worker {found.pid} on {found.host}, device cpu, must not score: "):
        Pool(lambda slot: worker, 1)
    assert worker.dismissed


def test_hire__worker_with_other_code__is_refused_by_name() -> None:
    other = dataclasses.replace(GOOD, code="ff" * 32, host="there")
    with pytest.raises(UntrustedWorker, match="worker 1 on there, device cpu, has other code than this node"):
        Pool(lambda slot: Hand(other), 2)


def test_hire__nobody_comes_up__is_said_after_a_few_tries() -> None:
    tries = []

    def hire(slot: int) -> Hand:
        tries.append(slot)
        raise WorkerLost("no such machine")

    with pytest.raises(EngineError, match=f"no worker comes up, {TRIES} tried: no such machine"):
        Pool(hire, 1)
    assert len(tries) == TRIES


def test_work__trouble_of_the_machine__is_no_answer() -> None:
    hand = Hand()
    with pytest.raises(WorkerLost, match=r"RuntimeError|UnpicklingError|EOFError"):
        hand.submit(b"no job", {}).result(20)


@pytest.mark.parametrize(
    ("text", "found"), [("cpu", ["cpu"]), ("cuda:0, cuda:1", ["cuda:0", "cuda:1"]), ("cpu,cpu", ["cpu"] * 2)]
)
def test_devices__list__is_read(text: str, found: list[str]) -> None:
    assert devices_of(text) == found


@pytest.mark.parametrize("text", ["", "gpu", "cuda:0,cuda:0", "cuda:0;cuda:1", "mps", "cpu,"])
def test_devices__anything_else__is_refused_in_one_line(text: str) -> None:
    with pytest.raises(EngineError) as refused:
        devices_of(text)
    assert "\n" not in str(refused.value)


def test_open_engine__default__is_this_process_and_hires_nobody() -> None:
    opened = open_engine(EngineSpec())
    assert opened.engine is IN_PROCESS
    assert opened.workers == ()


def test_open_engine__ray_with_devices_of_two_kinds_or_a_client_address__is_refused() -> None:
    with pytest.raises(EngineError, match="devices of one kind"):
        open_engine(EngineSpec(engine="ray", devices="cpu,cuda:0"))
    with pytest.raises(EngineError, match="not a ray:// client"):
        open_engine(EngineSpec(engine="ray", address="ray://10.0.0.1:10001"))
