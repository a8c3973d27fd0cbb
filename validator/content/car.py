"""CARv1: a whole DAG in one answer, read as a stream and believed block by block.

Source: https://ipld.io/specs/transport/car/carv1/. An optimisation and nothing else: a source that answers otherwise
than asked (another order, doubled blocks, something after the end) is asked for single blocks instead.

The header of an archive with one root is a constant around the root's CID, so bytes are compared and no CBOR is parsed.
Blocks must come in the order in which the walk asks for them (depth first, repeated ones once), so nothing is buffered
but the block in hand.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from validator.content.block import MAX_BLOCK, Block, GetBlock, verified
from validator.content.cid import Cid
from validator.content.errors import BadCid, FetchError
from validator.content.unixfs import MAX_BLOCKS

MEDIA_TYPE = "application/vnd.ipld.car"
ACCEPT = f"{MEDIA_TYPE};version=1;order=dfs;dups=n"

_CID_BYTES = 36
_SECTION = MAX_BLOCK + _CID_BYTES
_CACHED = 8  # blocks, at most 16 MiB: what repeats in real files (zeros, a pattern) is a leaf or two
_VARINT_BYTES = 4


class NotThatCar(FetchError):
    """The answer is no archive of the DAG that was asked for, or not in the order that was asked for."""


def size_limit(file_bytes: int) -> int:
    """Bytes that the archive of a file of so many bytes may have: each block has a few of its own."""
    blocks = min(MAX_BLOCKS, 2 * -(-file_bytes // (256 << 10)) + 64)
    return file_bytes + 256 * blocks + 64 * 1024


def headers(root: Cid) -> tuple[bytes, ...]:
    """The bytes with which an archive of one DAG may begin: its root as CID of version 1, or of version 0."""
    names = [bytes(root)] + ([b"\x12\x20" + root.digest] if root.codec == "dag-pb" else [])
    made = []
    for name in names:
        link = b"\x00" + name  # CBOR: {"roots": [42(h'00...')], "version": 1}
        cbor = b"\xa2\x65roots\x81\xd8\x2a\x58" + bytes((len(link),)) + link + b"\x67version\x01"
        made.append(bytes((len(cbor),)) + cbor)
    return tuple(made)


class CarBlocks:
    """The blocks of an archive, handed out as the walk wants them. Use its `get_block` where a source's would stand.

    `stream`: the answer's bytes as they arrive, bounded by the caller in size and time. `again`: where a block that
    came before is had from, once it has left the small cache.
    """

    def __init__(self, root: Cid, stream: Iterator[bytes], source: str, again: GetBlock) -> None:
        self._stream, self._source, self._again = stream, source, again
        self._held = bytearray()
        self._root, self._begun = root, False
        self._seen: set[Cid] = set()
        self._recent: OrderedDict[Cid, Block] = OrderedDict()

    def get_block(self, cid: Cid) -> Block:
        """The block that the walk wants next. Raises FetchError when the archive ends or is another, or BadBlock."""
        if not self._begun:
            self._read_header()
        if cid in self._seen:
            return self._recent.get(cid) or self._again(cid)
        block = self._section(cid)
        self._seen.add(cid)
        self._recent[cid] = block
        if len(self._recent) > _CACHED:
            self._recent.popitem(last=False)
        return block

    def finish(self) -> None:
        """After the walk: nothing may follow. Raises NotThatCar."""
        if self._held or next(self._stream, b""):
            raise NotThatCar(f"{self._source} sent bytes after the end of the archive")

    def _read_header(self) -> None:
        self._begun = True
        allowed = headers(self._root)
        first = self._take(1, "header")
        header = first + self._take(first[0], "header") if first[0] + 1 in map(len, allowed) else first
        if header not in allowed:
            raise NotThatCar(f"{self._source} did not send an archive with the root {self._root}")

    def _section(self, wanted: Cid) -> Block:
        length = self._length()
        if not 34 <= length <= _SECTION:
            raise NotThatCar(f"{self._source} sent a section of {length} bytes: 34 to {_SECTION} are allowed")
        start = self._take(34, "section")
        name = start if start.startswith(b"\x12\x20") else start + self._take(min(2, length - 34), "section")
        try:
            named = Cid.from_bytes(name)
        except BadCid as error:
            raise NotThatCar(f"{self._source} sent a section with {error}") from None
        if named != wanted:
            raise NotThatCar(f"{self._source} sent {named} where {wanted} comes next")
        return verified(wanted, self._take(length - len(name), "section"), self._source)

    def _length(self) -> int:
        value = 0
        for shift in range(0, 7 * _VARINT_BYTES, 7):
            byte = self._take(1, "section")[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if byte == 0 and shift:
                    raise NotThatCar(f"{self._source} sent a length that is not in its shortest form")
                return value
        raise NotThatCar(f"{self._source} sent a length of more than {_VARINT_BYTES} bytes")

    def _take(self, size: int, what: str) -> bytes:
        while len(self._held) < size:
            piece = next(self._stream, b"")
            if not piece:
                raise FetchError(f"{self._source} ended its archive within a {what}")
            self._held += piece
        taken = bytes(memoryview(self._held)[:size])
        del self._held[:size]
        return taken


def encode(root: Cid, blocks: Iterator[Block]) -> Iterator[bytes]:
    """An archive of `blocks`, which are in the order of a walk from `root`; repeated ones are left out."""
    yield headers(root)[0]
    seen: set[Cid] = set()
    for block in blocks:
        if block.cid not in seen:
            seen.add(block.cid)
            length, head = _CID_BYTES + len(block.data), bytearray()
            while length > 0x7F:
                head.append(length & 0x7F | 0x80)
                length >>= 7
            yield bytes((*head, length)) + bytes(block.cid) + block.data
