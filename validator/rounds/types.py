"""The plain data that the rules of a round work on. No behaviour, no effects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

from validator.rounds.hashes import Hashes

if TYPE_CHECKING:  # torch is slow to import, and looking up a score needs none of it
    from validator.influence import Records

VERSION = 2
"""Version of the rules in this room; part of every manifest. A change of any signed integer bumps it."""

ZERO_DIGEST = bytes(32)


class Status(IntEnum):
    """What became of a contribution; the `uint8` of its leaf in the scores tree."""

    UNAVAILABLE = 0
    PAID = 1
    BELOW_NOISE = 2
    DUPLICATE = 3
    UNDECRYPTABLE = 4
    REPLAYED = 5
    MALFORMED = 6
    OVERSIZED = 7


WORDS: Mapping[Status, str] = {
    Status.UNAVAILABLE: "not fetched by a quorum of validators; the deposit comes back",
    Status.PAID: "improves the model; paid",
    Status.BELOW_NOISE: "adds nothing certain to what the model and the contributions before it already hold",
    Status.DUPLICATE: "every record repeats one that was known before",
    Status.UNDECRYPTABLE: "the envelope does not open with the DAO's key",
    Status.REPLAYED: "the envelope was sealed for another contributor, contract or chain",
    Status.MALFORMED: "the payload breaks the schema of the manifest",
    Status.OVERSIZED: "larger than the manifest allows",
}
"""One sentence a status, for people."""

FORFEITS = frozenset({Status.UNDECRYPTABLE, Status.REPLAYED, Status.MALFORMED, Status.OVERSIZED})
"""Statuses that forfeit the deposit; the contracts hold the same rule."""


@dataclass(frozen=True, slots=True)
class Submission:
    """A contribution as the chain announced it. `digest` and `codec` (0 raw, 1 dag-pb) name its envelope; `size` in
    bytes.
    """

    id: int
    contributor: str
    digest: bytes
    codec: int
    size: int
    key_epoch: int


@dataclass(frozen=True, slots=True)
class Opened:
    """A contribution after opening and parsing: either records to score, or a status that ends it, with a stable reason
    code. `included`: a quorum of validators holds its envelope.
    """

    submission: Submission
    included: bool
    records: Records | None = None
    status: Status | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Terms:
    """What the chain fixed for a round: who asks, under which manifest and seed, for how much (`pool`, reward-token
    units).
    """

    chain_id: int
    contract: str
    round: int
    attempt: int
    manifest: bytes
    beacon: bytes
    seed: bytes
    pool: int
    first_id: int
    end_id: int


@dataclass(frozen=True, slots=True)
class Remembered:
    """Where the records are that a finalised round paid for: the file by `digest` and `size` in bytes, how many it
    holds, the key epoch that it is sealed under, and the digest of the manifest that was in force.
    """

    manifest: bytes
    digest: bytes
    size: int
    count: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Carry:
    """What a round inherits from the last finalised one.

    `evidence`: digest of its bundle (zero before the first); `rounds`: how many were finalised; `earnings`: lifetime
    earnings by contributor; `known`: keyed hashes of the records accepted so far; `memory`: where those records are,
    an entry a round.
    """

    evidence: bytes = ZERO_DIGEST
    rounds: int = 0
    earnings: Mapping[str, int] = field(default_factory=dict)
    known: Hashes = field(default_factory=Hashes)
    memory: tuple[Remembered, ...] = ()
