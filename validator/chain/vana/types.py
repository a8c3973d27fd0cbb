"""What Vana's contracts say, in Python. Addresses are checksummed, amounts in wei, scores in 1e-18 (WAD).

Text of strangers is bytes on chain and need not be UTF-8: what is not, or is too long to be meant, becomes "".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

WAD = 10**18
MOST_TEXT = 4096
"""Bytes of a URL or of a granted key that are read."""


class JobStatus(IntEnum):
    """Life of a job in the TeePool."""

    NONE = 0
    SUBMITTED = 1
    COMPLETED = 2
    CANCELED = 3


@dataclass(frozen=True, slots=True)
class Place:
    """The contracts of one data DAO of Vana's on one chain. `block`: where following begins."""

    chain_id: int
    registry: str
    tee_pool: str
    dlp: str
    dlp_id: int
    block: int = 0


@dataclass(frozen=True, slots=True)
class File:
    """A file of the DataRegistry. `added_at` is a height."""

    id: int
    owner: str
    url: str
    schema_id: int
    added_at: int


@dataclass(frozen=True, slots=True)
class Job:
    """A request for a proof, assigned to one `tee`. `bid` in wei, `added_at` in Unix seconds."""

    file_id: int
    bid: int
    status: JobStatus
    added_at: int
    owner: str
    tee: str


@dataclass(frozen=True, slots=True)
class Tee:
    """A prover's account in the TeePool: fees earned and paid out so far, in wei."""

    active: bool
    earned: int
    withdrawn: int


@dataclass(frozen=True, slots=True)
class ProofData:
    """What a proof says. `score` in 1e-18, 0 to 1."""

    score: int
    dlp_id: int
    metadata: str
    proof_url: str
    instruction: str


@dataclass(frozen=True, slots=True)
class Proof:
    """A proof as it stands on chain: 65 bytes of signature over url and data."""

    signature: bytes
    data: ProofData


def text(raw: bytes) -> str:
    """A stranger's text, or "" where it is no readable text of at most MOST_TEXT bytes."""
    try:
        read = raw.decode() if len(raw) <= MOST_TEXT else ""
    except UnicodeDecodeError:
        return ""
    return read if read.isprintable() else ""
