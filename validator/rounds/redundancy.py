"""Nobody is paid twice for one record: exact repeats are recognised by a keyed hash of the canonical record.

Later rounds carry only keyed hashes forward. A plain hash would let anyone who guesses a record (they may have little
entropy) learn that the DAO holds it; the key travels sealed with the queries.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch

from validator.influence import Records
from validator.rounds.types import HASH_BYTES, Opened


def record_hash(key: bytes, inputs: torch.Tensor, target: torch.Tensor) -> bytes:
    """Keyed BLAKE2b of one canonical record: dtype, shape, then little-endian values with -0.0 written as 0.0, then the
    target, or the targets of a sequence.
    """
    values = (inputs + 0 if inputs.dtype.is_floating_point else inputs).contiguous()
    head = f"{str(values.dtype).removeprefix('torch.')}:{','.join(map(str, values.shape))};".encode()
    body = values.numpy().astype(values.numpy().dtype.newbyteorder("<"), copy=False).tobytes()
    tail = target.contiguous().numpy().astype("<i8", copy=False).tobytes()
    return hashlib.blake2b(head + body + tail, digest_size=HASH_BYTES, key=key[:64]).digest()


def record_hashes(key: bytes, records: Records) -> list[bytes]:
    """`record_hash` of every record, in order."""
    return [record_hash(key, records.inputs[i], records.targets[i]) for i in range(len(records))]


def drop_repeats(
    key: bytes, known: frozenset[bytes], anchor: Records, opened: Sequence[Opened]
) -> list[tuple[Opened, Records | None, list[bytes]]]:
    """For each opened contribution in on-chain order: itself, its records seen for the first time (or None), and their
    keyed hashes.

    A record is a repeat if it stands in the anchor, was paid in an earlier round (`known`), or came earlier in this
    round. The first to submit a record in a round keeps it, whatever becomes of that contribution: order on chain is
    the only order that every validator shares.
    """
    seen = set(known) | set(record_hashes(key, anchor))
    result: list[tuple[Opened, Records | None, list[bytes]]] = []
    for item in opened:
        if item.records is None:
            result.append((item, None, []))
            continue
        keep: list[int] = []
        fresh: list[bytes] = []
        for index, digest in enumerate(record_hashes(key, item.records)):
            if digest not in seen:
                seen.add(digest)
                keep.append(index)
                fresh.append(digest)
        kept = item.records.select(torch.tensor(keep, dtype=torch.int64)) if keep else None
        result.append((item, kept, fresh))
    return result
