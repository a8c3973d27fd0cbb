"""Envelopes and verified content against the bare primitive below each: one-shot AES-256-GCM, and SHA-256."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from measure import Row, arguments, compare, report

from validator.content import Block, Cid, LayeredStore, LocalStore
from validator.content.block import GetBlock, verified
from validator.content.car import CarBlocks, encode
from validator.content.dagpb import decode_file
from validator.content.unixfs import build, walk
from validator.envelope import Context, generate_keypair, open_envelope, seal

SIZES = (64 * 1024, 16 * 1024 * 1024, 64 * 1024 * 1024)
PIECE = 64 * 1024
BARE = "SHA-256"
CONTEXT = Context(chain_id=1, contract="0x" + "11" * 20, key_epoch=1, contributor="0x" + "22" * 20)


def envelopes(size: int, repeats: int) -> list[Row]:
    """Seal and open `size` bytes for one recipient."""
    data, pair = os.urandom(size), generate_keypair()
    cipher, nonce = AESGCM(AESGCM.generate_key(256)), os.urandom(12)
    envelope, sealed = seal(data, [pair.public], CONTEXT), cipher.encrypt(nonce, data, None)
    return told(
        size,
        compare_with(
            repeats,
            {"AES-256-GCM encrypt": lambda: cipher.encrypt(nonce, data, None)},
            {"envelope seal": lambda: seal(data, [pair.public], CONTEXT)},
        )
        + compare_with(
            repeats,
            {"AES-256-GCM decrypt": lambda: cipher.decrypt(nonce, sealed, None)},
            {"envelope open": lambda: open_envelope(envelope, pair.secret, CONTEXT, limit=len(envelope))},
        ),
    )


def stored(size: int, repeats: int) -> list[Row]:
    """`size` bytes verified from memory by block and as an archive, and read from the embedded store, in turns with
    bare SHA-256 over the same bytes.
    """
    data = os.urandom(size)
    blocks = {block.cid: block.data for block in build(data)}
    root = list(blocks)[-1]

    def get(cid: Cid) -> Block:
        return verified(cid, blocks[cid], "memory")

    archive = b"".join(encode(root, walked(root, get)))
    pieces = [archive[at : at + PIECE] for at in range(0, len(archive), PIECE)]
    with tempfile.TemporaryDirectory() as folder:
        store = LayeredStore([LocalStore(folder)])
        store.put(data)
        works: Work = {
            BARE: lambda: hashlib.sha256(data).digest(),
            "verify by block": lambda: exhaust(walk(root, get, size)),
            "verify an archive": lambda: exhaust(
                walk(root, CarBlocks(root, iter(pieces), "memory", get).get_block, size)
            ),
            "store read, end to end": lambda: store.read(root, size),
        }
        taken = compare(works, repeats)
    speed = {name: f"{taken[BARE].median / one.median:.2f} of SHA-256" for name, one in taken.items() if name != BARE}
    return told(size, [Row(name, one, speed.get(name, "")) for name, one in taken.items()])


def walked(cid: Cid, get: GetBlock) -> Iterator[Block]:
    """The blocks of a DAG in the order of a walk."""
    block = get(cid)
    yield block
    if cid.codec == "dag-pb":
        for child in decode_file(block.data).children:
            yield from walked(child.cid, get)


def exhaust(pieces: Iterator[bytes]) -> int:
    """Bytes of a walk to its end."""
    return sum(map(len, pieces))


Work = dict[str, Callable[[], object]]


def compare_with(repeats: int, bare: Work, ours: Work) -> list[Row]:
    """The bare primitive, and ours with its ratio to it."""
    (below,), (above,) = bare, ours
    taken = compare({**bare, **ours}, repeats)
    ratio = taken[above].median / taken[below].median
    return [Row(below, taken[below]), Row(above, taken[above], f"{ratio:.2f} x")]


def told(size: int, rows: list[Row]) -> list[Row]:
    """Rows with size and throughput in words."""
    unit = f"{size // 1024} KiB" if size < 2**20 else f"{size // 2**20} MiB"
    return [
        Row(f"{row.what}, {unit}", row.timing, f"{size / 2**20 / row.timing.median:,.0f} MiB/s {row.note}".strip())
        for row in rows
    ]


def main() -> None:
    """Measure and print."""
    given = arguments(__doc__ or "")
    rows = [row for size in SIZES for row in envelopes(size, given.repeats) + stored(size, given.repeats)]
    report("Envelopes and content", rows, given.json)


if __name__ == "__main__":
    main()
