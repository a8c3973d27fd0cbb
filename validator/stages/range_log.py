"""The follower's memory of endpoints, kept in the journal: where chain and journal are joined."""

from __future__ import annotations

from validator.journal import Journal


class JournalledRanges:
    """`RangeMemory` over the node's journal."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def recall(self, endpoint: str) -> tuple[int, int] | None:
        """(blocks, patience) as last remembered."""
        return self._journal.endpoint_range(endpoint)

    def remember(self, endpoint: str, blocks: int, patience: int) -> None:
        """Keep them."""
        self._journal.set_endpoint_range(endpoint, blocks, patience)
