"""Nobody is paid twice for one record: exact repeats are recognised by a keyed hash of the canonical record.

Later rounds carry only keyed hashes forward. A plain hash would let anyone who guesses a record (they may have little
entropy) learn that the DAO holds it; the key travels sealed with the queries.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import torch

from validator.influence import Records
from validator.rounds.hashes import HASH_BYTES, Hashes
from validator.rounds.types import Opened


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


@dataclass(frozen=True, slots=True)
class Distinct:
    """A contribution after opening, without its records; how many it `offered`; those that were seen for the first time
    (None: there is none to judge), and their keyed hashes one after the other.
    """

    opened: Opened
    offered: int = 0
    records: Records | None = None
    hashes: bytes = b""


def drop_repeats(key: bytes, known: Hashes, anchor: Records, opened: Iterable[Opened]) -> Iterator[Distinct]:
    """Each opened contribution in on-chain order without its repeats, as it is asked for.

    A record is a repeat if it stands in the anchor, was paid in an earlier round (`known`), or came earlier in this
    round. The first to submit a record in a round keeps it, whatever becomes of that contribution: order on chain is
    the only order that every validator shares.
    """
    seen = known.union(b"".join(record_hashes(key, anchor)))
    for item in opened:
        if item.records is None:
            yield Distinct(item)
            continue
        hashes = record_hashes(key, item.records)
        keep, fresh = list[int](), dict[bytes, None]()
        for index, (digest, old) in enumerate(zip(hashes, seen.holds(hashes), strict=True)):
            if not old and digest not in fresh:
                keep.append(index)
                fresh[digest] = None
        packed = b"".join(fresh)
        seen = seen.union(packed)
        kept = item.records.select(torch.tensor(keep, dtype=torch.int64)) if keep else None
        yield Distinct(replace(item, records=None), len(item.records), kept, packed)
