"""How a long read of the chain is going, for the log: a line now and then, with the time that is left."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

log = structlog.get_logger("backfill")

LOG_SECONDS = 10.0
WORTH_TELLING_BLOCKS = 1_000


@dataclass(slots=True)
class Backfill:
    """From the first block that was behind to the last final one. `clock` counts seconds and never goes back."""

    clock: Callable[[], float] = time.monotonic
    events: int = 0
    _first: int | None = None
    _begun: float = 0.0
    _told_at: float = field(default=0.0)
    _told: bool = False

    def reached(self, block: int, finalised: int) -> None:
        """A range was read: up to `block` of `finalised`."""
        now = self.clock()
        if self._first is None:
            if finalised - block < WORTH_TELLING_BLOCKS:
                return
            self._first, self._begun, self._told_at = block, now, now
        if now - self._told_at >= LOG_SECONDS and finalised > block:
            self._told_at, self._told = now, True
            seconds, done = now - self._begun, block - self._first
            log.info(
                "catching up",
                block=block,
                of=finalised,
                percent=round(100 * block / finalised, 1),
                blocks_per_second=round(done / seconds),
                events=self.events,
                eta_seconds=round((finalised - block) * seconds / done) if done else None,
            )

    def ended(self, block: int) -> None:
        """Everything final was read."""
        if self._told:
            log.info("caught up", block=block, events=self.events, seconds=round(self.clock() - self._begun, 1))
        self.events, self._first, self._told = 0, None, False
