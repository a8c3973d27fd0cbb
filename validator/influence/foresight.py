"""How far to look ahead when contributions are judged one on top of the other: a guess about speed, never about a bit.

Those tried ahead are wasted when one before them is accepted, and cost little where a batch is cheaper than its runs or
workers would wait. Whoever was tried behind an accepted one has shown what to expect: most of those that were worth
paying from one place are so from the next.
"""

from __future__ import annotations

from collections.abc import Sequence


class Window:
    """Up to `most` contributions at once, and `least` at any time: so many that nobody waits."""

    def __init__(self, least: int, most: int) -> None:
        self._least, self._most = least, max(least, most)
        self._unknown = least
        self._hopes: dict[int, bool] = {}

    def ahead(self, first: int) -> int:
        """How many to try from contribution `first` on: those expected to be refused, up to the first that is expected
        to be accepted; and of those nobody has tried yet twice as many after each refusal, from `least` on after an
        acceptance.
        """
        count, unknown = 0, 0
        while count < self._most:
            hope = self._hopes.get(first + count)
            unknown += hope is None
            if unknown > self._unknown:
                break
            count += 1
            if hope and count >= self._least:
                break
        return count

    def learn(self, first: int, judged: int, verdicts: Sequence[bool]) -> None:
        """Contributions from `first` on were tried: `judged` of them count, and whether each seemed acceptable."""
        moved = verdicts[judged - 1]
        self._unknown = self._least if moved else min(2 * self._unknown, self._most)
        self._hopes = {place: hope for place, hope in self._hopes.items() if place >= first + judged}
        self._hopes |= {first + index: verdict for index, verdict in enumerate(verdicts) if index >= judged}
