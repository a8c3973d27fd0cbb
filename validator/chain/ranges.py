"""How many blocks to ask an endpoint's logs for at once: learnt from what it refuses, and remembered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

FIRST_RANGE = 2_000
MOST_RANGE = 50_000
# After so many ranges that worked the size is doubled again, as a refusal may have been for a moment only; each refusal
# doubles the patience, so that an endpoint with a fixed limit is hardly ever asked for too much.
PATIENCE, MOST_PATIENCE = 4, 4_096
# An endpoint that was too slow once is not asked for less than this on that account: single blocks would never end.
LEAST_FOR_SLOW = 16
# So many logs at once are about as much as should be decoded in one piece.
MANY_LOGS = 20_000


class RangeMemory(Protocol):
    """Where sizes outlive the process, by the key of an endpoint. Losing them costs a few refused requests."""

    def recall(self, endpoint: str) -> tuple[int, int] | None:
        """(blocks, patience) as last remembered, or None."""
        ...

    def remember(self, endpoint: str, blocks: int, patience: int) -> None:
        """Keep them, in place of what was there."""
        ...


@dataclass(slots=True)
class _Learnt:
    blocks: int
    patience: int
    successes: int = 0


class LogRanges:
    """The size of log ranges for each endpoint. Starts at ``first`` and doubles freely until something is refused."""

    def __init__(self, memory: RangeMemory | None = None, first: int = FIRST_RANGE, most: int = MOST_RANGE) -> None:
        self._memory = memory
        self._first = first
        self._most = max(first, most)
        self._learnt: dict[str, _Learnt] = {}

    def blocks(self, endpoint: str) -> int:
        """How many blocks to ask for next."""
        return self._of(endpoint).blocks

    def refused(self, endpoint: str, blocks: int) -> None:
        """A request for the logs of ``blocks`` blocks was refused."""
        learnt = self._of(endpoint)
        patience = min(MOST_PATIENCE, max(PATIENCE, learnt.patience * 2))
        self._learn(endpoint, max(1, blocks // 2), patience)

    def slow(self, endpoint: str, blocks: int) -> None:
        """A request for the logs of ``blocks`` blocks was not answered in time."""
        least = min(LEAST_FOR_SLOW, blocks)
        self._learn(endpoint, max(least, blocks // 2), max(PATIENCE, self._of(endpoint).patience))

    def worked(self, endpoint: str, blocks: int, logs: int) -> None:
        """A request for the logs of ``blocks`` blocks gave ``logs`` logs."""
        learnt = self._of(endpoint)
        if logs > MANY_LOGS and blocks > 1:
            self._learn(endpoint, blocks // 2, learnt.patience)
            return
        if blocks < learnt.blocks or learnt.blocks >= self._most or logs > MANY_LOGS // 2:
            return  # says nothing about more
        learnt.successes += 1
        if learnt.successes >= learnt.patience:
            self._learn(endpoint, min(self._most, learnt.blocks * 2), learnt.patience)

    def _of(self, endpoint: str) -> _Learnt:
        if endpoint not in self._learnt:
            known = self._memory.recall(endpoint) if self._memory is not None else None
            blocks, patience = known or (self._first, 1)
            self._learnt[endpoint] = _Learnt(min(max(1, blocks), self._most), min(max(1, patience), MOST_PATIENCE))
        return self._learnt[endpoint]

    def _learn(self, endpoint: str, blocks: int, patience: int) -> None:
        changed = (blocks, patience) != (self._of(endpoint).blocks, self._of(endpoint).patience)
        self._learnt[endpoint] = _Learnt(blocks, patience)
        if self._memory is not None and changed:
            self._memory.remember(endpoint, blocks, patience)
