"""The daemon: APScheduler ticks, a watchdog, and a way to stop that takes seconds. One process, one DAO or several.

Stopping is safe at any instant because every step is journalled before it acts. SIGTERM lets the steps in hand finish
if that takes less than STOP_SECONDS and abandons them otherwise; SIGKILL abandons them at once; the next start goes on
from the journal either way.

Before its first tick the daemon asks whether this machine computes what the protocol fixes; if not, it does not start.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from types import FrameType

import structlog
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from validator.errors import ValidatorError
from validator.exact.conformance.check import self_test
from validator.exact.conformance.report import Report
from validator.masking import Masker
from validator.memory import Memory
from validator.settings import HUNG_SECONDS
from validator.stages.node import Node
from validator.stages.round import tick
from validator.supervisor import Supervisor
from validator.ticker import Health, Ticker

__all__ = ["Daemon", "Health", "NotCertified", "Ticker"]

log = structlog.get_logger("daemon")

STOP_SECONDS = 8.0
WAKE_SECONDS = 0.2
WATCH_SECONDS = 5.0
STATUS = 300
"""Letters of an error that systemd is told, at most."""
EXIT_HUNG = 75
EXIT_MEMORY = 76


class NotCertified(ValidatorError):
    """This machine gives other bits than the protocol fixes; the message names the operation, cause and cure."""


class Daemon:
    """Runs `tick` for one node, or for one a DAO, until told to stop."""

    def __init__(
        self,
        node: Node | Sequence[Ticker],
        poll_seconds: float,
        golden: Mapping[str, str] | None = None,
        memory: Memory | None = None,
        supervisor: Supervisor | None = None,
    ) -> None:
        """`poll_seconds` between the end of a tick and the next; more while ticks fail. `golden`: digests that the
        machine must find, by default those of the protocol. `memory`: what this process may use. `supervisor`: who is
        told how it is, by default systemd, if that started it.
        """
        self.tickers = list(node) if isinstance(node, Sequence) else [ticker_of(node, poll_seconds)]
        self.memory = memory or Memory()
        self._supervisor = supervisor or Supervisor()
        self._poll = poll_seconds
        self._golden = golden
        self._exit_code = 0
        self._stopping = False
        executors = {"default": ThreadPoolExecutor(len(self.tickers) + 1)}  # no DAO waits for another's thread
        self._scheduler = BackgroundScheduler(timezone="UTC", executors=executors)

    @property
    def node(self) -> Node:
        """The node of the first DAO."""
        return self.tickers[0].node

    @node.setter
    def node(self, node: Node) -> None:
        self.tickers[0].node = node

    @property
    def health(self) -> Health:
        """How the first DAO's node is."""
        return self.tickers[0].health

    def run(self, on_start: Callable[[], None] | None = None) -> int:
        """Tick until SIGTERM or SIGINT; returns the exit code in the end. Must be called from the main thread.

        Raises NotCertified, with the nodes closed, on a machine that fails the quick self-test.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        self._certify()
        options = {"trigger": "interval", "max_instances": 1, "coalesce": True, "misfire_grace_time": None}
        for ticker in self.tickers:
            self._scheduler.add_job(ticker.run, seconds=self._poll, id=f"tick {ticker.name}", **options)
        self._scheduler.add_job(self._watch, seconds=WATCH_SECONDS, id="watchdog", **options)
        self._scheduler.start()
        if on_start is not None:
            on_start()
        self._supervisor.ready()
        while not self._stopping:
            # A signal may reach another thread, and a wait without end would then never notice.
            time.sleep(WAKE_SECONDS)
            self._supervisor.alive()
        self._shut_down()
        return self._exit_code

    def stop(self) -> None:
        """Ask the node to stop; returns at once."""
        self._stopping = True

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        # Only a flag: a handler runs between any two instructions of the main thread, where taking a lock may deadlock.
        self._stopping = True

    def _shut_down(self) -> None:
        log.info("stopping")
        self._supervisor.stopping()
        deadline = time.monotonic() + STOP_SECONDS
        for ticker in self.tickers:  # a tick has either begun, and is waited for, or will see that it must not
            ticker.stop()
        self._scheduler.shutdown(wait=False)
        busy = [ticker.name for ticker in self.tickers if not ticker.wait_idle(deadline - time.monotonic())]
        if not busy:
            self._close()
            log.info("stopped")
            return
        log.warning("the step in hand was abandoned; the next start takes it up again from the journal", dao=busy)
        os._exit(self._exit_code)  # a worker thread may sit in a long product; SQLite does not depend on a clean exit

    def _close(self) -> None:
        for ticker in self.tickers:
            ticker.close()

    def _certify(self) -> None:
        report = self_test(quick=True, golden=self._golden)
        self._certified(report)
        if report.ok:
            log.info("self-test passed", verdict=report.verdict)
            return
        self._close()
        raise NotCertified(f"this machine must not score: {report.verdict} (see `validator exact self-test`)")

    def _certified(self, report: Report) -> None:
        for ticker in self.tickers:
            ticker.health.self_test = report

    def _watch(self) -> None:
        self._supervisor.status("; ".join(map(_said, self.tickers)))
        for ticker in self.tickers:
            since = ticker.health.in_tick_since
            if since is not None and time.monotonic() - since > HUNG_SECONDS:
                log.critical(
                    "a step has hung; ending the process so that its supervisor starts it again",
                    dao=ticker.name,
                    seconds=HUNG_SECONDS,
                )
                os._exit(EXIT_HUNG)
        if self.memory.exceeded() and not self._stopping:
            log.critical(
                "this process uses more memory than it may; stopping so that its supervisor starts it again",
                used_bytes=self.memory.used(),
                limit_bytes=self.memory.limit,
                cure="raise memory_mib, or let this machine follow fewer DAOs",
            )
            self._exit_code = EXIT_MEMORY
            self._stopping = True


def tickers_of(openers: Sequence[tuple[str, Callable[[], Node]]], poll_seconds: float) -> list[Ticker]:
    """A ticker for each DAO. One alone is opened now, and may raise; several are at their first tick, and again while
    that fails.
    """
    tickers = [Ticker(name, opener, _tick, poll_seconds) for name, opener in openers]
    if len(tickers) == 1:
        tickers[0].node = openers[0][1]()
    return tickers


def ticker_of(node: Node, poll_seconds: float) -> Ticker:
    """The ticker of a node that is open."""
    ticker = Ticker(node.deployment.rounds, lambda: node, _tick, poll_seconds)
    ticker.node = node
    return ticker


def _said(ticker: Ticker) -> str:
    """How a DAO's node is, in a few words, which everybody on the machine may read."""
    health = ticker.health
    if health.failures:
        return f"{ticker.name}: failed {health.failures} times in a row: {Masker().text(health.last_error)[:STATUS]}"
    return f"{ticker.name}: {'ticks' if health.ticks else 'at its first tick'}"


def _tick(node: Node) -> None:
    tick(node)
