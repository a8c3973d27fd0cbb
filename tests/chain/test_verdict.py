"""What is concluded from what endpoints show of themselves."""

from __future__ import annotations

import pytest

from validator.chain.verdict import Condition, Rules, Sighting, judge

OURS, OTHER = b"\x01" * 32, b"\x02" * 32
RULES = Rules(chain_id=7, anchor=OURS, stale_blocks=10, stall_seconds=60.0)


def conditions(*sightings: Sighting, remembered: dict[int, int] | None = None) -> list[Condition]:
    verdicts = judge(dict(enumerate(sightings)), remembered or {}, RULES)
    return [verdicts[index].condition for index in range(len(sightings))]


def at(head: int, anchor: bytes | None = OURS, **more: float) -> Sighting:
    return Sighting(7, head, anchor, **more)


H, L, S, F, X = Condition.HEALTHY, Condition.LAGGING, Condition.STALLED, Condition.FAILING, Condition.LYING


@pytest.mark.parametrize(
    ("heads", "expected"),
    [
        ([100], [H]),
        ([100, 90], [H, H]),
        ([100, 89], [H, L]),
        ([89, 100], [L, H]),
        # With two nobody knows who lies: the higher is believed, and held to what it serves.
        ([100, 100_000], [L, H]),
        # With three the majority is.
        ([100, 100_000, 101], [H, X, H]),
        ([100, 5, 101], [H, L, H]),
        ([100, 141, 101], [H, H, H]),
        ([100, 142, 101], [H, X, H]),
        ([5, 6, 100], [H, H, X]),
        ([100, 100_000, 200_000, 101, 99], [H, X, X, H, H]),
    ],
)
def test_judge__heads__are_compared_with_the_majority_or_the_highest(
    heads: list[int], expected: list[Condition]
) -> None:
    assert conditions(*map(at, heads)) == expected


def test_judge__the_good_endpoint_is_away_for_a_moment__the_stale_one_is_no_better_for_it() -> None:
    assert conditions(at(50), remembered={9: 100}) == [L]
    assert conditions(at(50)) == [H]


@pytest.mark.parametrize(
    ("anchors", "expected"),
    [
        ([OTHER], [H]),  # alone it is believed: the chain was reorganised
        ([OURS, OTHER], [H, X]),
        ([OTHER, OTHER], [H, H]),
        ([OTHER, OTHER, OURS], [H, H, X]),
        ([OURS, OURS, OTHER], [H, H, X]),
        ([OURS, OTHER, None], [H, X, H]),
        ([None, None], [H, H]),
    ],
)
def test_judge__another_block_at_a_final_height__is_a_lie_unless_most_show_it(
    anchors: list[bytes | None], expected: list[Condition]
) -> None:
    assert conditions(*(at(100, anchor) for anchor in anchors)) == expected


def test_judge__another_chain__is_a_lie_and_has_no_voice() -> None:
    assert conditions(Sighting(8, 10**6), at(100)) == [X, H]


def test_judge__claims_a_block_that_it_does_not_have__fails_and_has_no_voice() -> None:
    assert conditions(at(1_000, held=False), at(100)) == [F, H]
    assert conditions(at(1_000, held=False), at(100), at(100)) == [X, H, H]


def test_judge__has_not_moved_while_others_have__is_stalled() -> None:
    assert conditions(at(99, unmoved=61.0), at(100)) == [S, H]
    assert conditions(at(99, unmoved=59.0), at(100)) == [H, H]
    assert conditions(at(100, unmoved=1e6), at(100)) == [H, H]
