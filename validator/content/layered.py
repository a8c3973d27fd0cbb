"""Several sources, tried in order: the first honest answer wins."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence

from validator.content.block import Block
from validator.content.cid import Cid
from validator.content.errors import BadBlock, BadStore, ContentError, FetchError, NotFound
from validator.content.kubo import KuboStore
from validator.content.local import LocalStore
from validator.content.store import ContentSource, read_file

_Writable = LocalStore | KuboStore


class LayeredStore:
    """Reads from the first source that has a block, writes to the first store that can.

    What another source gave is kept in the local store on the way, so that a pin needs no second fetch.
    `lies` counts, by source name, the answers that did not hash to what was asked.
    """

    def __init__(self, sources: Sequence[ContentSource]) -> None:
        self._sources = tuple(sources)
        self._writable = next((source for source in self._sources if isinstance(source, _Writable)), None)
        self._lies: Counter[str] = Counter()
        self._guard = threading.Lock()

    @property
    def name(self) -> str:
        """The names of all sources, in order."""
        return ",".join(source.name for source in self._sources)

    @property
    def lies(self) -> dict[str, int]:
        """Bad blocks by source name, since the start."""
        with self._guard:
            return dict(self._lies)

    def get_block(self, cid: Cid) -> Block:
        """One verified block from the first source that can. Raises the last source's error if none can."""
        failures: list[ContentError] = []
        for source in self._sources:
            try:
                block = source.get_block(cid)
            except (NotFound, FetchError, BadBlock) as error:
                self._count(source.name, error)
                failures.append(error)
            else:
                self._keep(source, block)
                return block
        if all(isinstance(failure, NotFound) for failure in failures):
            raise NotFound(f"none of {self.name} has {cid}")
        raise next(failure for failure in reversed(failures) if not isinstance(failure, NotFound))

    def read(self, cid: Cid, size_limit: int) -> bytes:
        """A whole file; its blocks may come from different sources. Raises ContentError."""
        return read_file(cid, self.get_block, size_limit)

    def put(self, data: bytes) -> Cid:
        """Store and pin in the first store that can write. Raises BadStore when none can."""
        return self._writer().put(data)

    def pin(self, cid: Cid) -> None:
        """Pin in the first store that can write; a local store must have read it before.

        Raises NotFound or FetchError.
        """
        self._writer().pin(cid)

    def unpin(self, cid: Cid) -> None:
        """Unpin in the first store that can write."""
        self._writer().unpin(cid)

    def has(self, cid: Cid) -> bool:
        """Whether the first store that can write holds all of it."""
        return self._writer().has(cid)

    def _writer(self) -> _Writable:
        if self._writable is None:
            raise BadStore(f"{self.name} can only be read: add local:PATH or kubo:URL to the content setting")
        return self._writable

    def _keep(self, source: ContentSource, block: Block) -> None:
        if isinstance(self._writable, LocalStore) and source is not self._writable:
            self._writable.put_block(block)

    def _count(self, name: str, error: ContentError) -> None:
        if isinstance(error, BadBlock):
            with self._guard:
                self._lies[name] += 1
