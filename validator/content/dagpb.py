"""The two protocol buffers inside a dag-pb block, read strictly.

Sources: IPLD dag-pb specification (links before data), UnixFS specification (unixfs.proto). Strict means: known
fields only, each in its place and once, minimal varints, names empty. Whoever hides bytes in a block must find
another place.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from validator.content.cid import Cid
from validator.content.errors import BadCid, BadDag

MAX_LINKS = 8192
_RAW, _FILE = 0, 2  # unixfs.proto DataType; directories, symlinks and HAMT shards are no files
_VARINT, _BYTES = 0, 2  # protobuf wire types
_Field = tuple[int, "int | bytes"]


@dataclass(frozen=True, slots=True)
class Child:
    """A link: where it leads, and how many bytes of file the parent says are below it."""

    cid: Cid
    size: int


@dataclass(frozen=True, slots=True)
class FileNode:
    """A UnixFS file node: `inline` bytes, then the children in order; `size` bytes in all."""

    inline: bytes
    children: tuple[Child, ...]
    size: int


def encode_file(inline: bytes, children: list[tuple[Cid, int, int]], *, kind: int = _FILE) -> bytes:
    """The bytes of a dag-pb block as `ipfs add` writes them; children are (cid, file size, cumulative block size)."""
    meta = b"\x08" + _varint(kind)
    if inline:
        meta += b"\x12" + _varint(len(inline)) + inline
    meta += b"\x18" + _varint(len(inline) + sum(size for _, size, _ in children))
    meta += b"".join(b"\x20" + _varint(size) for _, size, _ in children)
    links = b"".join(_link(bytes(cid), total) for cid, _, total in children)
    return links + b"\x0a" + _varint(len(meta)) + meta


def decode_file(data: bytes) -> FileNode:
    """Read one dag-pb block as a file node. Raises BadDag for anything but a plain, canonical UnixFS file."""
    links: list[Cid] = []
    meta: bytes | None = None
    for number, value in _fields(data):
        if number == 2 and meta is None and isinstance(value, bytes):
            links.append(_read_link(value))
            _check(len(links) <= MAX_LINKS, f"more than {MAX_LINKS} links in one block")
        else:
            _check(number == 1 and meta is None and isinstance(value, bytes), "links and data out of order")
            meta = value if isinstance(value, bytes) else None
    _check(meta is not None, "a block without UnixFS data")
    inline, size, sizes = _read_meta(meta or b"")
    _check(len(sizes) == len(links), f"{len(links)} links but {len(sizes)} block sizes")
    _check(size == len(inline) + sum(sizes), "the file size is not the sum of its parts")
    return FileNode(inline, tuple(Child(cid, part) for cid, part in zip(links, sizes, strict=True)), size)


def _read_meta(meta: bytes) -> tuple[bytes, int, list[int]]:
    kind = size = None
    inline, sizes, last = b"", [], 0
    for number, value in _fields(meta):
        _check(number > last or number == last == 4, "UnixFS fields twice or out of order")
        last = number
        if number == 1 and isinstance(value, int):
            kind = value
        elif number == 2 and isinstance(value, bytes):
            inline = value
        elif number == 3 and isinstance(value, int):
            size = value
        else:
            _check(number == 4 and isinstance(value, int), f"UnixFS field {number} does not belong to a plain file")
            sizes.append(value if isinstance(value, int) else 0)
    _check(kind in (_RAW, _FILE), "not a file (a directory, a symlink or something else)")
    _check(size is not None, "a file node without a size")
    return inline, size or 0, sizes


def _read_link(data: bytes) -> Cid:
    cid, last = None, 0
    for number, value in _fields(data):
        _check(number > last, "link fields twice or out of order")
        last = number
        if number == 1 and isinstance(value, bytes):
            try:
                cid = Cid.from_bytes(value)
            except BadCid as error:
                raise BadDag(f"a link leads to {error}") from None
        else:
            _check(number != 2 or value == b"", "a file's links have no names")
            _check(number == 2 or (number == 3 and isinstance(value, int)), "an unknown field in a link")
    if cid is None:
        raise BadDag("a link without a CID: the block is not a plain file")
    return cid


def _fields(data: bytes) -> Iterator[_Field]:
    """(field number, value) of a message that has only varints and byte strings."""
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at)
        value, at = _read_varint(data, at)
        if key & 7 == _BYTES:
            end = at + value
            _check(end <= len(data), "a field runs past the end of its block")
            yield key >> 3, data[at:end]
            at = end
        else:
            _check(key & 7 == _VARINT, "an unknown wire type")
            yield key >> 3, value


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 63, 7):
        _check(at < len(data), "a number is cut off")
        byte, at = data[at], at + 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            _check(byte != 0 or shift == 0, "a number is not in its shortest form")
            return value, at
    raise BadDag("the block is not a plain file: a number of more than 63 bits")


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


def _link(cid: bytes, total: int) -> bytes:
    body = b"\x0a" + _varint(len(cid)) + cid + b"\x12\x00\x18" + _varint(total)
    return b"\x12" + _varint(len(body)) + body


def _check(holds: bool, reason: str) -> None:
    if not holds:
        raise BadDag(f"the block is not a plain file: {reason}")
