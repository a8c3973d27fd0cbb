"""The ticks of one DAO: one at a time, apart from those of other DAOs, with a pause that doubles while they fail."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from validator.errors import ValidatorError
from validator.exact.conformance.report import Report
from validator.stages.node import Node
from validator.stages.watch import Duty, look

log = structlog.get_logger("daemon")

MAX_BACKOFF_SECONDS = 60.0


@dataclass(slots=True)
class Health:
    """What `/health`, `/ready` and the metrics read. Times by the monotonic clock, seconds. `self_test` is None until
    the machine was asked; `duty` until the node was looked at.
    """

    started: float = field(default_factory=time.monotonic)
    ticks: int = 0
    failures: int = 0
    failures_total: int = 0
    in_tick_since: float | None = None
    last_success: float | None = None
    last_error: str = ""
    self_test: Report | None = None
    duty: Duty | None = None
    missed: dict[str, int] = field(default_factory=dict)


class Ticker:
    """Ticks one node. `open_node` is called before the first tick, and again after it has failed."""

    def __init__(
        self,
        name: str,
        open_node: Callable[[], Node],
        tick: Callable[[Node], None],
        poll_seconds: float,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`name` of the DAO, for messages. `jitter` gives numbers in [0, 1): nodes that failed together do not all come
        back together.
        """
        self.name = name
        self.health = Health()
        self.resume_at = 0.0
        self._open = open_node
        self._tick = tick
        self._poll = poll_seconds
        self._jitter = jitter
        self._node: Node | None = None
        self._gate = threading.Lock()
        self._stopped = False
        self._idle = threading.Event()
        self._idle.set()

    @property
    def node(self) -> Node:
        """The open node. Raises ValidatorError if it cannot be opened."""
        if self._node is None:
            self._node = self._open()
        return self._node

    @node.setter
    def node(self, node: Node) -> None:
        self._node = node

    @property
    def opened(self) -> Node | None:
        """The node, if it is open."""
        return self._node

    def run(self) -> None:
        """One tick, unless it is not time yet or the ticker was stopped. Never raises."""
        with self._gate:
            if self._stopped or time.monotonic() < self.resume_at:
                return
            self._idle.clear()
        self.health.in_tick_since = time.monotonic()
        try:
            node = self.node
            self._tick(node)
            self._look_back(node)
        except ValidatorError as error:
            self._failed(str(error))
        except Exception as error:  # a bug must not end a node that runs for months: shown, counted, retried
            log.exception("unexpected fault; please report it", dao=self.name)
            self._failed(repr(error))
        else:
            self.health.ticks += 1
            self.health.failures = 0
            self.health.last_success = time.monotonic()
        finally:
            self.health.in_tick_since = None
            self._idle.set()

    def stop(self) -> None:
        """No tick begins from here on; one that has begun goes on."""
        with self._gate:
            self._stopped = True

    def wait_idle(self, seconds: float) -> bool:
        """Whether no tick is under way, or has ended within `seconds`."""
        return self._idle.wait(max(0.0, seconds))

    def close(self) -> None:
        """Close what the node holds open, if it was opened."""
        if self._node is not None:
            self._node.close()

    def _look_back(self, node: Node) -> None:
        """Note whether the node does what it is there for: a tick may succeed and still nothing come of it."""
        before = self.health.duty
        duty = look(node, before)
        for missed in duty.missed - (before.missed if before is not None else frozenset()):
            self.health.missed[missed.duty] = self.health.missed.get(missed.duty, 0) + 1
            log.error("a deadline was missed", dao=self.name, **missed.told())
        for number, reason in set(duty.unscorable) - set(before.unscorable if before is not None else ()):
            log.error("this release must not score a round", dao=self.name, round=number, reason=reason)
        self.health.duty = duty

    def _failed(self, message: str) -> None:
        self.health.failures += 1
        self.health.failures_total += 1
        self.health.last_error = message
        longest = min(self._poll * 2.0 ** min(self.health.failures, 32), MAX_BACKOFF_SECONDS)
        wait = longest * (1 + self._jitter()) / 2
        self.resume_at = time.monotonic() + wait
        log.warning("tick failed", dao=self.name, error=message, retry_in_seconds=round(wait, 3))
