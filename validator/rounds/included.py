"""Which contributions a round judges: those that a quorum of weight fetched and verified."""

from __future__ import annotations

from collections.abc import Iterable


def quorum(weight: int, total: int) -> bool:
    """More than two thirds of the snapshot's weight, in integers."""
    return weight * 3 > total * 2


def encode_bitmap(first_id: int, end_id: int, available: Iterable[int]) -> bytes:
    """Bitmap of `available` ids over [first_id, end_id): bit i (least significant first in byte i // 8) is id `first_id
    + i`.
    """
    bitmap = bytearray((end_id - first_id + 7) // 8)
    for id_ in available:
        if not first_id <= id_ < end_id:
            raise ValueError(f"contribution {id_} is outside [{first_id}, {end_id})")
        index = id_ - first_id
        bitmap[index // 8] |= 1 << (index % 8)
    return bytes(bitmap)


def decode_bitmap(first_id: int, end_id: int, bitmap: bytes) -> frozenset[int]:
    """The ids set in `bitmap`; bits past the last id are ignored (the contract refuses them)."""
    return frozenset(first_id + i for i in range(end_id - first_id) if bitmap[i // 8] >> (i % 8) & 1)


def included(first_id: int, end_id: int, reports: Iterable[tuple[int, bytes]], total_weight: int) -> frozenset[int]:
    """Ids that reports of (weight, bitmap) carry with a quorum of `total_weight`.

    Computed by every node from finalised events only, so a contributor who serves some validators and starves others
    cannot split the vote.
    """
    weights: dict[int, int] = {}
    for weight, bitmap in reports:
        for id_ in decode_bitmap(first_id, end_id, bitmap):
            weights[id_] = weights.get(id_, 0) + weight
    return frozenset(id_ for id_, weight in weights.items() if quorum(weight, total_weight))
