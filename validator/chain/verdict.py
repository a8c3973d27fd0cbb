"""What to think of endpoints that can be compared: a pure function of what each of them says.

With three or more the majority is believed. With two nobody can tell who lies about the head, so the higher one is
taken for true (what it then serves is checked where it is used); about a block that was scanned as final, the one that
still shows it is believed. With one there is nothing to compare.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)

MAJORITY = 3
"""From so many on, the greater part is right."""
LEAD = 4
"""A head beyond the majority's by so many times the blocks that count as stale is a lie."""


class Condition(StrEnum):
    """What an endpoint is worth. Only a healthy one is asked."""

    UNKNOWN = "unknown"
    """Not asked yet."""
    HEALTHY = "healthy"
    LAGGING = "lagging"
    """Answers, and is too many blocks behind."""
    STALLED = "stalled"
    """Answers, and has not moved for long while others have."""
    FAILING = "failing"
    """Does not answer, or not usably."""
    LYING = "lying"
    """Contradicts itself, its chain, or most of the others."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """What one endpoint showed: chain id, newest block, the hash of the block at the anchor's height (None if it does
    not have it), for how many seconds its head has not grown, and whether it has the block that it calls its newest.
    """

    chain_id: int
    head: int
    anchor: bytes | None = None
    unmoved: float = 0.0
    held: bool = True


@dataclass(frozen=True, slots=True)
class Verdict:
    """A condition, and the reason in words ("" for a healthy one)."""

    condition: Condition
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Rules:
    """What is expected: the chain, the hash of the anchor (None: nothing scanned yet), and how far behind is stale (in
    blocks, and in seconds without a new one).
    """

    chain_id: int
    anchor: bytes | None
    stale_blocks: int
    stall_seconds: float


def judge(sightings: Mapping[Key, Sighting], remembered: Mapping[Key, int], rules: Rules) -> dict[Key, Verdict]:
    """A verdict on each of ``sightings``. ``remembered``: heads that other endpoints showed a short while ago; they
    have a voice about the head, so that a stale endpoint is not the best one as soon as the good one is away.
    """
    verdicts = _strangers(sightings, rules) | _forks(sightings, rules)
    honest = {key: s for key, s in sightings.items() if key not in verdicts}
    for key, sighting in honest.items():
        others = [s.head for other, s in honest.items() if s.held and other != key] + list(remembered.values())
        verdicts[key] = _by_head(sighting, [sighting.head, *others], rules)
    return verdicts


def reference_head(heads: list[int]) -> int:
    """The head to compare with: the highest that more than half show, or with fewer than three the highest."""
    ordered = sorted(heads, reverse=True)
    return ordered[len(ordered) // 2] if len(ordered) >= MAJORITY else ordered[0]


def _strangers(sightings: Mapping[Key, Sighting], rules: Rules) -> dict[Key, Verdict]:
    return {
        key: Verdict(Condition.LYING, f"serves chain {s.chain_id}, not {rules.chain_id}")
        for key, s in sightings.items()
        if s.chain_id != rules.chain_id
    }


def _forks(sightings: Mapping[Key, Sighting], rules: Rules) -> dict[Key, Verdict]:
    shown = {key: s.anchor for key, s in sightings.items() if s.anchor is not None and s.chain_id == rules.chain_id}
    if rules.anchor is None or len(shown) < 2:
        return {}
    counted = Counter(shown.values())
    most, votes = counted.most_common(1)[0]
    if len(shown) >= MAJORITY and 2 * votes > len(shown):
        believed, whose = most, "most endpoints show"
    elif rules.anchor in counted:
        believed, whose = rules.anchor, "was scanned as final"
    else:
        return {}  # nobody has that block any more: a reorganisation, which the follower will see for itself
    told = f"shows another block at a final height than {whose}"
    return {key: Verdict(Condition.LYING, told) for key, anchor in shown.items() if anchor != believed}


def _by_head(sighting: Sighting, heads: list[int], rules: Rules) -> Verdict:
    reference = reference_head(heads)
    if len(heads) >= MAJORITY and sighting.head > reference + LEAD * rules.stale_blocks:
        return Verdict(Condition.LYING, f"claims block {sighting.head}, most endpoints are at {reference}")
    if not sighting.held:
        return Verdict(Condition.FAILING, f"claims block {sighting.head} and does not have it")
    if reference - sighting.head > rules.stale_blocks:
        return Verdict(Condition.LAGGING, f"is at block {sighting.head}, others are at {reference}")
    if sighting.head < reference and sighting.unmoved > rules.stall_seconds:
        return Verdict(Condition.STALLED, f"has shown no block after {sighting.head} for {sighting.unmoved:.0f} s")
    return Verdict(Condition.HEALTHY)
