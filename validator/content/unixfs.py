"""Files as IPFS cuts them: `build` makes the blocks, `walk` reads them back within bounds.

`build` yields the CIDs of `ipfs add --cid-version=1 --raw-leaves --chunker=size-1048576` with nodes 1024 wide
(IPIP-499, profile unixfs-v1-2025). `walk` accepts every other cut too, since a contributor's daemon may have its own
defaults, but counts everything: a DAG of a few blocks can claim terabytes ("DAG bomb").
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from validator.content.block import MAX_BLOCK, Block, GetBlock
from validator.content.cid import Cid
from validator.content.dagpb import Child, FileNode, decode_file, encode_file
from validator.content.errors import BadDag, ContentError, TooLarge

CHUNK = 1 << 20
WIDTH = 1024
MAX_DEPTH = 8
MAX_BLOCKS = 65_536
_SMALLEST_USUAL_CHUNK = 256 * 1024


@dataclass(frozen=True, slots=True)
class _Part:
    """A subtree while building: file bytes below it, and bytes of all its blocks (dag-pb's Tsize)."""

    cid: Cid
    size: int
    total: int


def build(data: bytes, chunk: int = CHUNK, width: int = WIDTH) -> Iterator[Block]:
    """Cut a file into blocks, leaves first; the last one is the root.

    `chunk` in bytes, `width` in links a node. One chunk, also an empty one, is its own root.
    """
    if not 0 < chunk <= MAX_BLOCK:
        raise ValueError(f"chunk must be 1 to {MAX_BLOCK} bytes, not {chunk}")
    if width < 2:
        raise ValueError(f"width must be at least 2 links, not {width}")
    view, row = memoryview(data), []
    for start in range(0, max(len(data), 1), chunk):
        leaf = Block("raw", bytes(view[start : start + chunk]))
        row.append(_Part(leaf.cid, len(leaf.data), len(leaf.data)))
        yield leaf
    while len(row) > 1:
        # A last row of one child still becomes a node of its own: that is what `ipfs add` does.
        rows, row = [row[at : at + width] for at in range(0, len(row), width)], []
        for parts in rows:
            node = Block("dag-pb", encode_file(b"", [(part.cid, part.size, part.total) for part in parts]))
            below = sum(part.total for part in parts)
            row.append(_Part(node.cid, sum(part.size for part in parts), len(node.data) + below))
            yield node


def root(data: bytes, chunk: int = CHUNK, width: int = WIDTH) -> Cid:
    """The CID that `build` ends with."""
    *_, last = (block.cid for block in build(data, chunk, width))
    return last


def walk(cid: Cid, get_block: GetBlock, limit: int) -> Iterator[bytes]:
    """Yield the bytes of the file under `cid` in order, each piece verified; see `sized`."""
    yield from sized(cid, get_block, limit)[1]


def sized(cid: Cid, get_block: GetBlock, limit: int) -> tuple[int, Iterator[bytes]]:
    """The size in bytes that the file under `cid` declares, and its bytes in order, each piece verified.

    `limit` is the largest file, in bytes, that the caller accepts. The root's declared size is compared with it
    before any leaf is asked for, and every child must be as large as its parent said; so a DAG that lies dies at its
    first child. Raises TooLarge (size, blocks, depth), BadDag (not a plain file), and whatever `get_block` raises; all
    but what the root itself shows when the bytes are taken.
    """
    first = _expand(cid, get_block)
    if first.size > limit:
        raise TooLarge(f"{cid} holds {first.size} bytes: at most {limit} are allowed")
    return first.size, _below(cid, first, get_block)


def _below(cid: Cid, first: FileNode, get_block: GetBlock) -> Iterator[bytes]:
    blocks_left = min(MAX_BLOCKS, 2 * -(-first.size // _SMALLEST_USUAL_CHUNK) + 64) - 1
    stack: list[tuple[Child, int]] = []
    node, depth = first, 0
    while True:
        if node.inline:
            yield node.inline
        stack.extend((child, depth + 1) for child in reversed(node.children))
        if not stack:
            return
        child, depth = stack.pop()
        if depth > MAX_DEPTH:
            raise TooLarge(f"{cid} is more than {MAX_DEPTH} levels deep")
        if blocks_left == 0:
            raise TooLarge(f"{cid} has more blocks than a file of {first.size} bytes needs")
        blocks_left -= 1
        node = _expand(child.cid, get_block)
        if node.size != child.size:
            raise BadDag(f"{child.cid} holds {node.size} bytes where its parent says {child.size}")


def references(cid: Cid, get_block: GetBlock, tolerate: tuple[type[ContentError], ...] = ()) -> Iterator[Cid]:
    """Every distinct CID of the DAG, the root first; only inner blocks are read.

    What lies below an inner block that fails with one of `tolerate` is left out. Raises TooLarge above MAX_BLOCKS.
    """
    seen, stack = {cid}, [cid]
    while stack:
        current = stack.pop()
        yield current
        if current.codec == "raw":
            continue
        try:
            children = decode_file(get_block(current).data).children
        except tolerate:
            continue
        new = {child.cid for child in children} - seen
        seen |= new
        stack.extend(new)
        if len(seen) > MAX_BLOCKS:
            raise TooLarge(f"{cid} has more than {MAX_BLOCKS} blocks")


def _expand(cid: Cid, get_block: GetBlock) -> FileNode:
    block = get_block(cid)
    if block.cid != cid:
        raise AssertionError(f"internal error: asked for {cid}, got {block.cid}")
    return decode_file(block.data) if cid.codec == "dag-pb" else FileNode(block.data, (), len(block.data))
