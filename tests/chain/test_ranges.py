"""What is learnt about an endpoint's limit on log queries."""

from __future__ import annotations

from validator.chain.ranges import FIRST_RANGE, LEAST_FOR_SLOW, MANY_LOGS, MOST_RANGE, LogRanges


class Memory(dict[str, tuple[int, int]]):
    def recall(self, endpoint: str) -> tuple[int, int] | None:
        return self.get(endpoint)

    def remember(self, endpoint: str, blocks: int, patience: int) -> None:
        self[endpoint] = (blocks, patience)


def work(ranges: LogRanges, limit: int, requests: int) -> int:
    """How many of so many requests an endpoint with a limit refuses."""
    refused = 0
    for _ in range(requests):
        blocks = ranges.blocks("a")
        if blocks > limit:
            refused += 1
            ranges.refused("a", blocks)
        else:
            ranges.worked("a", blocks, 0)
    return refused


def test_blocks__nothing_is_refused__grow_to_the_most() -> None:
    ranges = LogRanges()
    assert ranges.blocks("a") == FIRST_RANGE
    assert work(ranges, MOST_RANGE, 10) == 0
    assert ranges.blocks("a") == MOST_RANGE


def test_blocks__endpoint_has_a_limit__is_found_and_seldom_tried_again() -> None:
    ranges = LogRanges()
    assert work(ranges, 1_000, 2_000) < 12
    assert ranges.blocks("a") == 1_000


def test_blocks__after_a_restart__nothing_is_learnt_anew() -> None:
    memory = Memory()
    work(LogRanges(memory), 1_000, 500)
    again = LogRanges(memory)
    assert again.blocks("a") == 1_000
    assert work(again, 1_000, 3) == 0
    assert again.blocks("b") == FIRST_RANGE


def test_blocks__endpoint_is_slow__shrink_but_not_to_nothing() -> None:
    ranges = LogRanges()
    for _ in range(30):
        ranges.slow("a", ranges.blocks("a"))
    assert ranges.blocks("a") == LEAST_FOR_SLOW


def test_blocks__answers_hold_very_many_logs__shrink() -> None:
    ranges = LogRanges()
    ranges.worked("a", FIRST_RANGE, MANY_LOGS + 1)
    assert ranges.blocks("a") == FIRST_RANGE // 2


def test_blocks__memory_was_tampered_with__stay_in_bounds() -> None:
    assert LogRanges(Memory(a=(0, 0))).blocks("a") == 1
    assert LogRanges(Memory(a=(10**12, 1))).blocks("a") == MOST_RANGE
