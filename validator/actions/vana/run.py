"""Run the adapter, look at it, or score one file without signing anything."""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import dataclass
from types import FrameType

import structlog

from validator.chain.vana import check_versions
from validator.errors import ValidatorError
from validator.exact.conformance.check import self_test
from validator.stages.vana import discover, judge
from validator.stages.vana.judge import Verdict
from validator.stages.vana.ledger import JobSeen, Ledger
from validator.stages.vana.node import VanaNode
from validator.stages.vana.tick import tick

log = structlog.get_logger("vana")

MOST_PAUSE_SECONDS = 60.0
STOP_SECONDS = 8.0
WAKE_SECONDS = 0.2


class NotCertified(ValidatorError):
    """This machine gives other bits than the protocol fixes."""


class NoSuchFile(ValidatorError):
    """The registry has no file of that id."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A job of ours and where it stands. `outcome`: judged, proven, cancelled, or waiting."""

    job: JobSeen
    outcome: str
    verdict: Verdict | None


def prepare(node: VanaNode) -> None:
    """What is asked before a run, the cheap things first. Raises NotVana, or NotCertified unless this machine computes
    what the protocol fixes.
    """
    check_versions(node.contracts)
    report = self_test(quick=True)
    if not report.ok:
        raise NotCertified(f"this machine must not score: {report.verdict} (see `validator exact self-test`)")


def run(node: VanaNode, poll_seconds: float) -> int:
    """Tick until SIGTERM or SIGINT; the exit code. A tick in hand may finish within STOP_SECONDS, and is abandoned
    otherwise: the next start goes on from the journal. Must be called from the main thread.
    """
    stop = threading.Event()
    signals = 0

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        nonlocal signals
        signals += 1  # only a number: taking a lock in a handler may deadlock

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    worker = threading.Thread(target=_tick_on, args=(node, poll_seconds, stop), name="vana", daemon=True)
    worker.start()
    while not signals:
        time.sleep(WAKE_SECONDS)
    stop.set()
    worker.join(STOP_SECONDS)
    if worker.is_alive():
        log.warning("the step in hand was abandoned; the next start takes it up again from the journal")
        os._exit(0)
    log.info("stopped")
    return 0


def _tick_on(node: VanaNode, poll_seconds: float, stop: threading.Event) -> None:
    failures = 0
    while not stop.is_set():
        pause = poll_seconds
        try:
            pause = poll_seconds if tick(node) else 0.0
            failures = 0
        except ValidatorError as error:
            failures += 1
            log.warning("tick failed", error=str(error))
        except Exception:  # a bug must not end a node that runs for months: shown, counted, retried
            failures += 1
            log.exception("unexpected fault; please report it")
        if failures:
            pause = min(poll_seconds * 2.0 ** min(failures, 32), MOST_PAUSE_SECONDS)
        stop.wait(pause)


def run_once(node: VanaNode) -> Ledger:
    """Read everything that is final and do everything that is due, then return. Raises what a tick raises."""
    while not tick(node):
        pass
    return discover.ledger_of(node)


def standings(node: VanaNode) -> list[Standing]:
    """Our jobs as of the newest final block, in order."""
    while not discover.run(node):
        pass
    ledger = discover.ledger_of(node)
    return [_standing(node, ledger, job) for _, job in sorted(ledger.jobs.items())]


def _standing(node: VanaNode, ledger: Ledger, job: JobSeen) -> Standing:
    verdict = judge.judged(node, job.file_id)
    outcome = ledger.ended.get(job.id) or ("judged" if verdict is not None else "waiting")
    return Standing(job, outcome, verdict)


def score(node: VanaNode, file_id: int) -> Verdict:
    """What this node would say of a file: as it was judged, or as it would be judged now. Sends nothing."""
    while not discover.run(node):
        pass
    known = judge.judged(node, file_id)
    if known is not None:
        return known
    ledger = discover.ledger_of(node)
    mark = node.journal.mark()
    file = node.contracts.registry.file(file_id, mark.number if mark else "latest")
    if not file.added_at:
        raise NoSuchFile(f"the registry has no final file {file_id}: it counts {node.contracts.registry.files_count()}")
    prepare(node)
    jobs = [job for job in ledger.open_jobs() if job.file_id == file_id]
    block = jobs[0].block if jobs else file.added_at
    return judge.rehearse(node, file, jobs[0].id if jobs else 0, judge.block_hash(node, block))
