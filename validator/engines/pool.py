"""An engine of workers: shards go to whoever is free, and to somebody else when a worker is lost.

A task has no effects and its bits do not depend on who computes it, so doing it again is always right. How often is
bounded: a shard that costs every worker its life is a fault to report, not to repeat.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from validator.engines.bench import Certificate, code_digest, job_of
from validator.engines.errors import EngineError, UntrustedWorker, WorkerLost
from validator.engines.wire import Raised, name_of, pack, unpack
from validator.influence.engine import Done

log = structlog.get_logger("engine")

TRIES = 4
"""Workers that a shard may cost before the round's scoring is given up for now."""
TASK_SECONDS = 1800.0
"""A worker that has not answered for so long has hung."""
_LOOK_SECONDS = 1.0


class Worker(Protocol):
    """One worker, hired and certified."""

    @property
    def certificate(self) -> Certificate:
        """Who it is."""
        ...

    def submit(self, job: bytes, shared: dict[str, bytes]) -> Future[bytes]:
        """Start a job. The future raises WorkerLost when the worker dies or stumbles."""
        ...

    def dismiss(self) -> None:
        """End the worker at once, whatever it does."""
        ...


Hire = Callable[[int], Worker]
"""Hires a worker for a slot. Raises WorkerLost when it does not come up."""


@dataclass(frozen=True, slots=True)
class _Running:
    slot: int
    shard: int
    since: float


def check_certificate(found: Certificate) -> None:
    """Raises UntrustedWorker, by the worker's name, unless it computes the protocol's bits with this node's code."""
    name = f"worker {found.pid} on {found.host}, device {found.device},"
    if not found.ok:
        raise UntrustedWorker(f"{name} must not score: {found.verdict} (see `validator exact self-test`)")
    if found.code != code_digest():
        raise UntrustedWorker(f"{name} has other code than this node: install the same release on both")


class Pool:
    """Implements `influence.engine.Engine`. One map at a time; further threads wait."""

    def __init__(self, hire: Hire, slots: int, task_seconds: float = TASK_SECONDS) -> None:
        """Hire a worker for each slot. Raises EngineError when one does not come up or must not score."""
        self._hire, self._task_seconds = hire, task_seconds
        self._lock, self._numbers = threading.Lock(), itertools.count()
        self._sent: list[tuple[object, str, bytes]] = []
        self._workers: list[Worker | None] = [None] * slots
        try:
            with ThreadPoolExecutor(slots) as together:  # each takes seconds to start and to pass the self-test
                list(together.map(self._staff, range(slots)))
        except BaseException:
            self.close()
            raise

    @property
    def width(self) -> int:
        """Number of workers."""
        return len(self._workers)

    def certificates(self) -> list[Certificate]:
        """Who works here now."""
        return [worker.certificate for worker in self._workers if worker is not None]

    def close(self) -> None:
        """Dismiss all workers."""
        for worker in self._workers:
            if worker is not None:
                worker.dismiss()
        self._workers = [None] * len(self._workers)

    def map(
        self, task: Callable[..., Any], shared: tuple[object, ...], shards: Sequence[object], done: Done | None = None
    ) -> list[Any]:
        """See `Engine`. Raises EngineError when a shard has cost TRIES workers, UntrustedWorker when a new one fails
        the self-test.
        """
        name = name_of(task)
        with self._lock:
            sent = self._packed(shared)
            tokens = [token for _, token, _ in sent]
            jobs = [job_of(name, tokens, shard) for shard in shards]
            return self._work(jobs, {token: data for _, token, data in sent}, done)

    def _packed(self, shared: tuple[object, ...]) -> list[tuple[object, str, bytes]]:
        """Each shared value once while it is the same object; those of the latest map are kept."""
        kept = []
        for value in shared:
            known = next((entry for entry in self._sent if entry[0] is value), None)
            kept.append(known or (value, str(next(self._numbers)), pack(value)))
        self._sent = kept
        return kept

    def _work(self, jobs: list[bytes], blobs: dict[str, bytes], done: Done | None) -> list[Any]:
        found: dict[int, Any] = {}
        waiting, running = deque(range(len(jobs))), dict[Future[bytes], _Running]()
        lost: Counter[int] = Counter()
        raised: dict[int, Exception] = {}
        while running or (waiting and not raised):
            busy = {one.slot for one in running.values()}
            for slot in [slot for slot in range(len(self._workers)) if slot not in busy]:
                if not waiting or raised:
                    break
                worker, shard = self._staff(slot), waiting.popleft()
                running[worker.submit(jobs[shard], blobs)] = _Running(slot, shard, time.monotonic())
            for future, hung in self._finished(running):
                one = running.pop(future)
                try:
                    answer = self._answer(future, hung)
                except WorkerLost as error:
                    lost[one.shard] += 1
                    self._lose(one, error, lost[one.shard])
                    waiting.appendleft(one.shard)
                    continue
                if isinstance(answer, Raised):
                    raised[one.shard] = answer.error()
                    continue
                (found[one.shard],) = answer
                if done is not None:
                    done(one.shard, found[one.shard])
        if raised:
            raise raised[min(raised)]
        return [found[shard] for shard in range(len(jobs))]

    def _finished(self, running: dict[Future[bytes], _Running]) -> list[tuple[Future[bytes], bool]]:
        """Futures that are done, or whose worker has hung; and whether it has."""
        ready, _ = wait(running, _LOOK_SECONDS, FIRST_COMPLETED)
        late = time.monotonic() - self._task_seconds
        return [(future, future not in ready) for future, one in running.items() if future in ready or one.since < late]

    def _answer(self, future: Future[bytes], hung: bool) -> Any:  # noqa: ANN401 - what a task gives
        if hung:
            raise WorkerLost(f"no answer for {self._task_seconds:.0f} s")
        return unpack(future.result())

    def _lose(self, one: _Running, error: WorkerLost, times: int) -> None:
        worker = self._workers[one.slot]
        self._workers[one.slot] = None
        name = "?" if worker is None else f"{worker.certificate.host}:{worker.certificate.pid}"
        if worker is not None:
            worker.dismiss()
        if times >= TRIES:
            raise EngineError(f"shard {one.shard} was lost with {times} workers, the last of them {name}: {error}")
        log.warning("worker lost; its shard is done again", worker=name, error=str(error), tries_left=TRIES - times)

    def _staff(self, slot: int) -> Worker:
        """The slot's worker; a new one, certified, if it has none."""
        worker, tries = self._workers[slot], 0
        while worker is None:
            tries += 1
            try:
                worker = self._hire(slot)
            except WorkerLost as error:
                if tries >= TRIES:
                    raise EngineError(f"no worker comes up, {tries} tried: {error}") from None
                log.warning("a worker did not come up", error=str(error), tries_left=TRIES - tries)
                continue
            try:
                check_certificate(worker.certificate)
            except UntrustedWorker:
                worker.dismiss()
                raise
        self._workers[slot] = worker
        return worker
