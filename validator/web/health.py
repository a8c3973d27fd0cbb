"""Whether a node is well, in the terms of a supervisor: alive (else restart it) and ready (else do not rely on it)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from validator.masking import Masker
from validator.settings import HUNG_SECONDS
from validator.web.models import Answer

LATE_POLLS, LATE_SECONDS = 10, 30.0


class SelfTest(Protocol):
    """What became of the self-test at the start (`validator.exact.conformance.report.Report`)."""

    @property
    def ok(self) -> bool:
        """Whether this machine computes what the protocol fixes."""

    @property
    def verdict(self) -> str:
        """That in one line."""


class Pulse(Protocol):
    """What the daemon notes about its ticks (`validator.daemon.Health`). Times by the monotonic clock, seconds.

    `ticks` counts those that succeeded, `failures_total` those that failed, `failures` those that failed since a
    success.
    """

    started: float
    ticks: int
    failures: int
    failures_total: int
    in_tick_since: float | None
    last_success: float | None
    last_error: str

    @property
    def self_test(self) -> SelfTest | None:
        """The self-test, once it has ended."""


@dataclass(frozen=True, slots=True)
class Vitals:
    """A running node as its health is told: its pulse, its polling interval in seconds, and our clock."""

    pulse: Pulse
    poll_seconds: float
    clock: Callable[[], float] = time.monotonic

    @property
    def late_after(self) -> float:
        """Seconds without a successful tick after which an idle node counts as dead."""
        return LATE_POLLS * self.poll_seconds + LATE_SECONDS


class Health(Answer):
    """The answer of /health and /ready. `reason` is empty when all is well; times in seconds, null where there is
    nothing to time. `self_test` is the verdict on this machine, null until there is one.
    """

    ok: bool
    reason: str
    ticks: int = 0
    failures: int = 0
    last_success_age_seconds: float | None = None
    in_tick_seconds: float | None = None
    self_test: str | None = None


def alive(vitals: Vitals | None) -> Health:
    """Whether the process works. A long tick is work (scoring takes its time) until it has taken HUNG_SECONDS; without
    one, the last success must not be too long ago. A server without a node is alive when it answers.
    """
    if vitals is None:
        return Health(ok=True, reason="")
    if reason := _unfit(vitals.pulse):
        return _health(vitals, reason)
    pulse, now = vitals.pulse, vitals.clock()
    since, last = pulse.in_tick_since, pulse.last_success
    quiet = now - (last if last is not None else pulse.started)
    if since is not None:
        hung = now - since > HUNG_SECONDS
        return _health(vitals, f"a tick has taken more than {HUNG_SECONDS:g} s" if hung else "")
    late = quiet > vitals.late_after
    return _health(vitals, f"no tick has succeeded for {quiet:.0f} s{_last_error(pulse)}" if late else "")


def ready(vitals: Vitals) -> Health:
    """Whether the node does its duty: a tick has succeeded, and none has failed since."""
    pulse = vitals.pulse
    if reason := _unfit(pulse):
        return _health(vitals, reason)
    if pulse.failures:
        return _health(vitals, f"{pulse.failures} ticks in a row have failed{_last_error(pulse)}")
    return _health(vitals, "" if pulse.last_success is not None else "the first tick has not ended yet")


def _unfit(pulse: Pulse) -> str:
    return pulse.self_test.verdict if pulse.self_test is not None and not pulse.self_test.ok else ""


def _last_error(pulse: Pulse) -> str:
    return f": {Masker().text(' '.join(pulse.last_error.split()))}" if pulse.last_error else ""


def _health(vitals: Vitals, reason: str) -> Health:
    pulse, now = vitals.pulse, vitals.clock()
    since, last = pulse.in_tick_since, pulse.last_success
    return Health(
        ok=not reason,
        reason=reason,
        ticks=pulse.ticks,
        failures=pulse.failures,
        last_success_age_seconds=round(now - last, 3) if last is not None else None,
        in_tick_seconds=round(now - since, 3) if since is not None else None,
        self_test=pulse.self_test.verdict if pulse.self_test is not None else None,
    )
