"""How far a scoring is and when it will be done, for whoever watches: the log of a node, or a bar."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from validator.rounds.score import Progress

log = structlog.get_logger("score")

EVERY_SECONDS = 30.0
"""Between two lines about the same phase."""


class Eta:
    """A `Progress` that logs with an estimate, and hands on to another one. The time left is what was needed so far,
    for the steps that are left; contributions differ, so it is a guess.
    """

    def __init__(
        self, round_number: int, onward: Progress | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._round, self._onward, self._clock = round_number, onward, clock
        self._phase, self._begun = "", clock()
        self._heard, self._told = self._begun, self._begun

    def __call__(self, phase: str, done: int, total: int) -> None:
        """See `Progress`."""
        now = self._clock()
        if phase != self._phase:
            # A phase begins where the one before it ended; we hear of it when its first step is done.
            self._phase, self._begun, self._told = phase, self._heard, self._heard
        self._heard = now
        if now - self._told >= EVERY_SECONDS and 0 < done < total:
            self._told = now
            spent = now - self._begun
            left = round(spent / done * (total - done))
            log.info("scoring", round=self._round, phase=phase, done=done, of=total, seconds_left=left)
        if self._onward is not None:
            self._onward(phase, done, total)
