"""Workers as processes of this machine, one a device. Jobs and answers go through pipes: memory only.

A worker ends when its node does, however that ends: it watches for it.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from concurrent.futures import TimeoutError as NoAnswer
from multiprocessing.connection import wait

from validator.engines.bench import Bench, Certificate
from validator.engines.errors import WorkerLost
from validator.engines.pool import Hire

START_SECONDS = 300.0
"""For a process to start, import torch and pass the self-test."""

_mine: list[Bench] = []
"""The bench of a worker process; empty in every other."""


class ProcessWorker:
    """One process. The values that it holds are those of the last job it was sent."""

    def __init__(self, device: str, threads: int) -> None:
        """Raises WorkerLost unless the process starts and answers in time."""
        self._executor = ProcessPoolExecutor(
            1, multiprocessing.get_context("spawn"), initializer=_set_up, initargs=(device, threads)
        )
        self._held: frozenset[str] = frozenset()
        try:
            self.certificate: Certificate = self._executor.submit(_certify).result(START_SECONDS)
        except (BrokenExecutor, NoAnswer, OSError) as error:
            for process in list((self._executor._processes or {}).values()):
                process.kill()
            self._executor.shutdown(wait=False, cancel_futures=True)
            raise WorkerLost(f"a process for {device} does not start: {str(error) or 'no answer'}") from None

    def submit(self, job: bytes, shared: dict[str, bytes]) -> Future[bytes]:
        """See `Worker`."""
        missing = {token: data for token, data in shared.items() if token not in self._held}
        self._held = frozenset(shared)
        return translated(self._submitted(job, missing))

    def _submitted(self, job: bytes, missing: dict[str, bytes]) -> Future[bytes]:
        try:
            return self._executor.submit(_work, job, missing)
        except (BrokenExecutor, RuntimeError) as error:
            failed: Future[bytes] = Future()
            failed.set_exception(error)
            return failed

    def dismiss(self) -> None:
        """See `Worker`."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.certificate.pid, signal.SIGKILL)
        self._executor.shutdown(wait=False, cancel_futures=True)


def hire_on(devices: Sequence[str], threads: int) -> Hire:
    """Hires a process for the device of each slot."""
    return lambda slot: ProcessWorker(devices[slot], threads)


def translated(future: Future[bytes]) -> Future[bytes]:
    """The same, except that every failure is a WorkerLost: tasks answer with what they raise, so it is the worker's."""
    outcome: Future[bytes] = Future()

    def settle(done: Future[bytes]) -> None:
        error = None if done.cancelled() else done.exception()
        if error is None and not done.cancelled():
            outcome.set_result(done.result())
        else:
            outcome.set_exception(WorkerLost(in_one_line(error)))

    future.add_done_callback(settle)
    return outcome


def in_one_line(error: BaseException | None) -> str:
    """What stopped a worker, for a log."""
    return "cancelled" if error is None else f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _set_up(device: str, threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the node's to answer
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent.sentinel,), daemon=True).start()
    _mine.append(Bench(device, threads))


def _follow(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


def _certify() -> Certificate:
    return _mine[0].certify()


def _work(job: bytes, shared: dict[str, bytes]) -> bytes:
    return _mine[0].work(job, shared)
