"""How far each source is to be relied on now: who is asked first, who is left out for a while, and why.

Verification makes every source safe; it does not make it useful. A source that lies or hangs costs time on every block,
so a lie sets it aside for an hour, doubling, and repeated failures of the transport for seconds, doubling. Not having
something is no fault.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from validator.content.errors import BadBlock, ContentError, NotFound

LIE_SECONDS, MOST_LIE_SECONDS = 3600.0, 86_400.0
FAULT_SECONDS, MOST_FAULT_SECONDS = 5.0, 300.0
PATIENT_FAULTS = 2
"""Failures of the transport in a row before a source is set aside."""


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """One source as an operator sees it. Times in Unix seconds, 0 where there is nothing to say.

    `aside_until` is in the future while it is left out, for `reason`; a source set aside for a lie is not asked at all,
    one set aside for failures only when nobody else has the block.
    """

    name: str
    served: int
    absent: int
    failures: int
    lies: int
    last_error: str
    last_error_at: float
    aside_until: float
    reason: str


class Standing:
    """The record of one source. Safe to share between threads."""

    def __init__(self, name: str, clock: Callable[[], float] = time.time) -> None:
        self.name = name
        self._clock = clock
        self._guard = threading.Lock()
        self._served = self._absent = self._failures = self._lies = self._in_a_row = 0
        self._last_error, self._last_error_at = "", 0.0
        self._aside_until, self._reason, self._lied = 0.0, "", False

    def served(self) -> None:
        """It gave a good block."""
        with self._guard:
            self._served += 1
            self._in_a_row = 0
            if not self._lied:
                self._aside_until, self._reason = 0.0, ""

    def failed(self, error: ContentError) -> None:
        """It did not: it lacks the block (no fault), failed, or lied."""
        with self._guard:
            if isinstance(error, NotFound):
                self._absent += 1
                self._in_a_row = 0
                return
            self._last_error, self._last_error_at = str(error)[:300], self._clock()
            if isinstance(error, BadBlock):
                self._lies += 1
                self._lied = True
                self._set_aside(min(LIE_SECONDS * 2 ** min(self._lies - 1, 16), MOST_LIE_SECONDS))
                return
            self._failures += 1
            self._in_a_row += 1
            beyond = self._in_a_row - PATIENT_FAULTS
            if beyond >= 0 and not (self._lied and self._aside_until > self._clock()):
                self._lied = False
                self._set_aside(min(FAULT_SECONDS * 2 ** min(beyond, 16), MOST_FAULT_SECONDS))

    def rank(self) -> int | None:
        """Ask those with the lowest first; None: do not ask at all."""
        with self._guard:
            if self._aside_until <= self._clock():
                return min(self._in_a_row, 1)
            return None if self._lied else 2

    def status(self) -> SourceStatus:
        """A snapshot."""
        with self._guard:
            aside = self._aside_until > self._clock()
            return SourceStatus(
                self.name,
                self._served,
                self._absent,
                self._failures,
                self._lies,
                self._last_error,
                self._last_error_at,
                self._aside_until if aside else 0.0,
                self._reason if aside else "",
            )

    def _set_aside(self, seconds: float) -> None:
        self._aside_until, self._reason = self._clock() + seconds, self._last_error
