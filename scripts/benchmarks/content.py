"""Envelopes and verified content against the bare primitive below each: one-shot AES-256-GCM, and SHA-256."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from measure import Row, arguments, compare, report

from validator.content import LocalStore
from validator.envelope import Context, generate_keypair, open_envelope, seal

SIZES = (64 * 1024, 16 * 1024 * 1024)
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
    """Read `size` bytes from the embedded store, every block hashed."""
    data = os.urandom(size)
    with tempfile.TemporaryDirectory() as folder:
        store = LocalStore(folder)
        cid = store.put(data)
        works = (
            {"SHA-256": lambda: hashlib.sha256(data).digest()},
            {"store read, verified": lambda: store.read(cid, size)},
        )
        return told(size, compare_with(repeats, *works))


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
