"""What every source and store promises, and the one way to read a whole file from them."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from validator.buffers import buffer_of
from validator.content.block import Block, GetBlock
from validator.content.cid import Cid
from validator.content.errors import Deadline, FetchError
from validator.content.unixfs import sized

FILE_SECONDS = 30.0
BYTES_PER_SECOND = 1_000_000
"""A file may take FILE_SECONDS plus its size limit over this rate."""


class DagSource(Protocol):
    """A source that may hand over a whole DAG in one answer."""

    @property
    def archives(self) -> bool:
        """Whether it can, as far as is known."""

    def get_block(self, cid: Cid) -> Block:
        """One verified block."""

    def dag(self, cid: Cid, size_limit: int) -> AbstractContextManager[GetBlock]:
        """Blocks for one walk of a file, by one request if the source can. Raises FetchError if that fails."""


class ContentSource(Protocol):
    """Somewhere blocks can be read from. Nothing it answers is trusted."""

    @property
    def name(self) -> str:
        """How messages call this source; no secrets."""

    def get_block(self, cid: Cid) -> Block:
        """One verified block. Raises NotFound, FetchError or BadBlock."""

    def read(self, cid: Cid, size_limit: int) -> bytes:
        """A whole file of at most `size_limit` bytes, verified. Raises ContentError."""


class Store(ContentSource, Protocol):
    """A source that also keeps content."""

    def put(self, data: bytes) -> Cid:
        """Store a file, pin it, return its CID. Raises QuotaExceeded, FetchError or BadStore."""

    def pin(self, cid: Cid) -> None:
        """Keep the whole DAG from now on, fetching what lacks if this store can. Raises NotFound or FetchError."""

    def unpin(self, cid: Cid) -> None:
        """No longer keep it. Not an error when it was not pinned."""

    def has(self, cid: Cid) -> bool:
        """Whether the whole DAG is held here, without asking anybody else. Raises BadDag for what is no file."""


def read_file(cid: Cid, get_block: GetBlock, size_limit: int, clock: Callable[[], float] = time.monotonic) -> bytes:
    """Read a file block by block.

    `clock` in seconds. Raises ContentError, and Deadline for a source that only drips.
    """
    patience = FILE_SECONDS + size_limit / BYTES_PER_SECOND
    end = clock() + patience

    size, pieces = sized(cid, get_block, size_limit)
    # One buffer: each block is freed as soon as it is copied, so a file is held once and not twice.
    file = buffer_of(size) if cid.codec == "dag-pb" else None
    for piece in pieces:
        if clock() > end:
            raise Deadline(f"{cid} was not read within {patience:.0f} s: try again or add a faster source")
        if file is None:
            return piece
        file.write(piece)
    if file is None:
        return b""
    file.truncate()
    return file.getvalue()


def read_dag(source: DagSource, cid: Cid, size_limit: int) -> bytes:
    """A file from one source: in one answer, or block by block where that fails. Raises ContentError."""
    try:
        with source.dag(cid, size_limit) as get_block:
            return read_file(cid, get_block, size_limit)
    except Deadline:
        raise
    except FetchError:
        return read_file(cid, source.get_block, size_limit)
