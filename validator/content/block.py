"""A block whose CID is computed from its bytes: holding one is holding the proof."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from validator.content.cid import Cid, Codec
from validator.content.errors import BadBlock, TooLarge

MAX_BLOCK = 2 << 20
"""Bytes. What bitswap carries; larger blocks cannot travel through IPFS."""


@dataclass(frozen=True, slots=True)
class Block:
    """Bytes with their CID. There is no way to make one whose CID does not match.

    Raises TooLarge above MAX_BLOCK bytes.
    """

    codec: Codec
    data: bytes = field(repr=False)
    cid: Cid = field(init=False)

    def __post_init__(self) -> None:
        if len(self.data) > MAX_BLOCK:
            raise TooLarge(f"a block of {len(self.data)} bytes: at most {MAX_BLOCK} are allowed")
        object.__setattr__(self, "cid", Cid.of(self.codec, self.data))


GetBlock = Callable[[Cid], Block]
"""How the walker asks for a block. Since a Block proves its own CID, any source may answer."""


def verified(cid: Cid, data: bytes, source: str) -> Block:
    """The block, if `data` hashes to `cid`. Raises BadBlock naming the source."""
    block = Block(cid.codec, data)
    if block.cid != cid:
        raise BadBlock(f"{source} answered {cid} with {len(data)} bytes of something else: use another source")
    return block
