"""The daemon: APScheduler ticks, a watchdog, and a way to stop that takes seconds.

Stopping is safe at any instant because every step is journalled before it acts. SIGTERM lets the step in hand finish if
that takes less than STOP_SECONDS and abandons it otherwise; SIGKILL abandons it at once; the next start goes on from
the journal either way.

Before its first tick the daemon asks whether this machine computes what the protocol fixes; if not, it does not start.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import FrameType

import structlog
from apscheduler.schedulers.background import BackgroundScheduler

from validator.errors import ValidatorError
from validator.exact.conformance.check import self_test
from validator.exact.conformance.report import Report
from validator.settings import HUNG_SECONDS
from validator.stages.node import Node
from validator.stages.round import tick

log = structlog.get_logger("daemon")

STOP_SECONDS = 8.0
WAKE_SECONDS = 0.2
MAX_BACKOFF_SECONDS = 60.0
EXIT_HUNG = 75


class NotCertified(ValidatorError):
    """This machine gives other bits than the protocol fixes; the message names the operation, cause and cure."""


@dataclass(slots=True)
class Health:
    """What `/health`, `/ready` and the metrics read. Times by the monotonic clock, seconds. `self_test` is None until
    the machine was asked.
    """

    started: float = field(default_factory=time.monotonic)
    ticks: int = 0
    failures: int = 0
    failures_total: int = 0
    in_tick_since: float | None = None
    last_success: float | None = None
    last_error: str = ""
    self_test: Report | None = None


class Daemon:
    """Runs `tick` for one node until told to stop."""

    def __init__(self, node: Node, poll_seconds: float, golden: Mapping[str, str] | None = None) -> None:
        """`poll_seconds` between the end of a tick and the next; up to MAX_BACKOFF_SECONDS while ticks fail. `golden`:
        digests that the machine must find, by default those of the protocol.
        """
        self.node = node
        self.health = Health()
        self._poll = poll_seconds
        self._golden = golden
        self._asked_to_stop = False
        self._stop = threading.Event()
        self._gate = threading.Lock()
        self._idle = threading.Event()
        self._idle.set()
        self._resume_at = 0.0
        self._scheduler = BackgroundScheduler(timezone="UTC")

    def run(self, on_start: Callable[[], None] | None = None) -> None:
        """Tick until SIGTERM or SIGINT; returns when the node has stopped. Must be called from the main thread.

        Raises NotCertified, with the node closed, on a machine that fails the quick self-test.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        self._certify()
        options = {"trigger": "interval", "max_instances": 1, "coalesce": True, "misfire_grace_time": None}
        self._scheduler.add_job(self._tick, seconds=self._poll, id="tick", **options)
        self._scheduler.add_job(self._watch, seconds=min(30.0, HUNG_SECONDS), id="watchdog", **options)
        self._scheduler.start()
        if on_start is not None:
            on_start()
        while not self._asked_to_stop:
            # A signal may reach another thread, and a wait without end would then never notice.
            time.sleep(WAKE_SECONDS)
        self._shut_down()

    def stop(self) -> None:
        """Ask the node to stop; returns at once."""
        self._asked_to_stop = True

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        # Only a flag: a handler runs between any two instructions of the main thread, where taking a lock may deadlock.
        self._asked_to_stop = True

    def _shut_down(self) -> None:
        log.info("stopping")
        with self._gate:  # a tick has either begun, and is waited for, or will see that it must not
            self._stop.set()
        self._scheduler.shutdown(wait=False)
        if self._idle.wait(STOP_SECONDS):
            self._close()
            log.info("stopped")
            return
        log.warning("the step in hand was abandoned; the next start takes it up again from the journal")
        os._exit(0)  # the worker thread may sit in a long product; SQLite's durability does not depend on a clean exit

    def _close(self) -> None:
        self.node.journal.close()
        if self.node.identity is not None:
            self.node.identity.protection.close()

    def _certify(self) -> None:
        self.health.self_test = report = self_test(quick=True, golden=self._golden)
        if report.ok:
            log.info("self-test passed", verdict=report.verdict)
            return
        self._close()
        raise NotCertified(f"this machine must not score: {report.verdict} (see `validator exact self-test`)")

    def _tick(self) -> None:
        with self._gate:
            if self._stop.is_set() or time.monotonic() < self._resume_at:
                return
            self._idle.clear()
        self.health.in_tick_since = time.monotonic()
        try:
            tick(self.node)
        except ValidatorError as error:
            self._failed(str(error))
        except Exception as error:  # a bug must not end a node that runs for months: shown, counted, retried
            log.exception("unexpected fault; please report it")
            self._failed(repr(error))
        else:
            self.health.ticks += 1
            self.health.failures = 0
            self.health.last_success = time.monotonic()
        finally:
            self.health.in_tick_since = None
            self._idle.set()

    def _failed(self, message: str) -> None:
        self.health.failures += 1
        self.health.failures_total += 1
        self.health.last_error = message
        wait = min(self._poll * 2**self.health.failures, MAX_BACKOFF_SECONDS)
        self._resume_at = time.monotonic() + wait
        log.warning("tick failed", error=message, retry_in_seconds=wait)

    def _watch(self) -> None:
        since = self.health.in_tick_since
        if since is not None and time.monotonic() - since > HUNG_SECONDS:
            log.critical(
                "a step has hung; ending the process so that its supervisor starts it again", seconds=HUNG_SECONDS
            )
            os._exit(EXIT_HUNG)
