"""Whether a node is well: alive (else restart it), ready (else do not rely on it), and healthy (else look after it).

`/live` and `/ready` are for machines that act on them. `/health` is for whoever is to be woken: it turns red for
everything that keeps the node from its duty, also where a restart would cure nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from validator.chain.pool import EndpointStatus
from validator.masking import Masker
from validator.settings import HUNG_SECONDS
from validator.stages.watch import Duty
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

    @property
    def duty(self) -> Duty | None:
        """What was seen of the node after its last tick."""

    @property
    def missed(self) -> Mapping[str, int]:
        """Deadlines missed since the start, by duty."""


@dataclass(frozen=True, slots=True)
class Vitals:
    """A running node as its health is told: its pulse, its polling interval in seconds, and our clocks (monotonic, and
    Unix time). A chain whose newest block is older than `stale_seconds` stands still. `endpoints`: what is thought of
    each RPC.
    """

    pulse: Pulse
    poll_seconds: float
    clock: Callable[[], float] = time.monotonic
    stale_seconds: float = 300.0
    now: Callable[[], float] = time.time
    endpoints: Callable[[], tuple[EndpointStatus, ...]] = tuple

    @property
    def late_after(self) -> float:
        """Seconds without a successful tick after which an idle node counts as dead."""
        return LATE_POLLS * self.poll_seconds + LATE_SECONDS


class Health(Answer):
    """The answer of /health and /ready. `reason` is empty when all is well; times in seconds, null where there is
    nothing to time. `self_test` is the verdict on this machine, null until there is one. Of several DAOs it is the
    first that is not well, or the first of all.
    """

    ok: bool
    reason: str
    ticks: int = 0
    failures: int = 0
    last_success_age_seconds: float | None = None
    in_tick_seconds: float | None = None
    self_test: str | None = None
    dao: str | None = None


def worst(answers: Mapping[str, Health]) -> Health:
    """One answer for several DAOs."""
    dao, answer = next(((d, a) for d, a in answers.items() if not a.ok), next(iter(answers.items())))
    reason = f"{dao}: {answer.reason}" if answer.reason and len(answers) > 1 else answer.reason
    return answer.model_copy(update={"dao": dao, "reason": reason})


def healthy(vitals: Vitals | None) -> Health:
    """Whether nothing keeps the node from its duty: it is alive, the chain moves, content is kept, this release may
    score what is under way, no deadline of the latest round was missed.
    """
    answer = alive(vitals)
    if vitals is None or not answer.ok:
        return answer
    return _health(vitals, _neglect(vitals))


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
    if reason := _neglect(vitals):
        return _health(vitals, reason)
    return _health(vitals, "" if pulse.last_success is not None else "the first tick has not ended yet")


def chain_age(vitals: Vitals) -> float | None:
    """Seconds since the newest block that this node has seen; None before the first."""
    duty = vitals.pulse.duty
    return max(0.0, vitals.now() - duty.head_time) if duty is not None and duty.head_time else None


def _neglect(vitals: Vitals) -> str:
    """What keeps the node from its duty although its ticks succeed, or ""."""
    duty, age = vitals.pulse.duty, chain_age(vitals)
    if duty is None:
        return ""
    if age is not None and age > vitals.stale_seconds:
        return f"the chain stands still: its newest block is {age:.0f} s old; look at the RPC endpoints"
    if duty.content_fault:
        return f"the content store fails: {_masked(duty.content_fault)}"
    if duty.unscorable:
        number, reason = duty.unscorable[0]
        return f"round {number} is not scored here: {reason}"
    if duty.missed:
        told = sorted(f"{m.duty} in round {m.round}, attempt {m.attempt}" for m in duty.missed)
        return f"deadlines were missed: {', '.join(told)}; the log says why"
    return ""


def _unfit(pulse: Pulse) -> str:
    return pulse.self_test.verdict if pulse.self_test is not None and not pulse.self_test.ok else ""


def _last_error(pulse: Pulse) -> str:
    return f": {_masked(pulse.last_error)}" if pulse.last_error else ""


def _masked(text: str) -> str:
    return Masker().text(" ".join(text.split()))


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
