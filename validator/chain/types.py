"""What the contracts say, in Python. Addresses are checksummed strings, digests 32 bytes, amounts integers in base
units.

The field names are the Solidity ones in snake case (a trailing underscore, which Solidity needs for reserved words, is
dropped); `abi.py` relies on that. See ``contracts/src/Types.sol``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any


class Phase(IntEnum):
    """Life of a round, as ``ScoringRounds.phase`` counts it."""

    NONE = 0
    OPEN = 1
    CLOSED = 2
    REPORTING = 3
    COMMITTING = 4
    ATTESTING = 5
    FINALISED = 6
    STALLED = 7
    ABANDONED = 8


@dataclass(frozen=True, slots=True)
class Attestation:
    """The statement that validators sign (EIP-712 ``ScoreAttestation``): what went in, what came out, and the sums."""

    round: int
    attempt: int
    manifest: bytes
    seed: bytes
    inputs_root: bytes
    scores_root: bytes
    earnings_root: bytes
    round_total: int
    earned_total: int
    count: int
    evidence: bytes


@dataclass(frozen=True, slots=True)
class ScoreLeaf:
    """One leaf of the scores tree. ``payable`` in reward-token units, ``raw`` and ``stderr`` fixed-point."""

    id: int
    contributor: str
    status: int
    payable: int
    raw: int
    stderr: int


@dataclass(frozen=True, slots=True)
class Parameters:
    """The DAO's knobs, latched by a round when it opens. Times in seconds, shares in basis points.

    ``deposit`` is in wei; ``round_budget`` and ``validator_fee`` in reward-token units; ``min_stake``, ``max_weight``
    and ``unrevealed_fee`` in stake-token units. ``exit_seconds`` must be at least ``max_attempts`` times the three
    phases.
    """

    open_seconds: int
    report_seconds: int
    commit_seconds: int
    attest_seconds: int
    max_contributions: int
    max_attempts: int
    exit_seconds: int
    slash_bps: int
    reporter_bps: int
    deposit: int
    round_budget: int
    validator_fee: int
    min_stake: int
    max_weight: int
    unrevealed_fee: int


@dataclass(frozen=True, slots=True)
class RoundInfo:
    """State of one round. Ids are ``first_id <= id < end_id``; deadlines are seconds since the epoch, 0 while unset."""

    phase: Phase
    attempt: int
    first_id: int
    end_id: int
    manifest: bytes
    seed: bytes
    seed_block: int
    opened_at: int
    closed_at: int
    report_deadline: int
    commit_deadline: int
    attest_deadline: int
    pool: int
    total_weight: int
    reported_weight: int
    committed_weight: int
    attested_weight: int
    digest: bytes
    scores_root: bytes
    evidence: bytes


@dataclass(frozen=True, slots=True)
class Ballot:
    """What one operator has done in one attempt. ``commit_hash`` is zero again once revealed, ``digest`` until then."""

    reported: bool
    commit_hash: bytes
    digest: bytes


@dataclass(frozen=True, slots=True)
class Validator:
    """A member of the validator set, amounts in stake-token units. ``exit_at`` is 0 until an exit is requested.

    ``weight`` is the one in the round now open.
    """

    signer: str
    hpke_key: bytes
    stake: int
    weight: int
    exit_at: int


@dataclass(frozen=True, slots=True)
class Contribution:
    """A submission as the registry holds it. ``codec`` 0 is raw, 1 dag-pb; ``size`` in bytes; ``deposit`` in wei.

    ``round`` is the one of submission; an overfull or abandoned round hands the contribution on to a later one.
    """

    contributor: str
    round: int
    key_epoch: int
    digest: bytes
    codec: int
    size: int
    deposit: int
    payer: str


@dataclass(frozen=True, slots=True)
class Deployment:
    """The addresses of one DAO's contracts. ``rounds`` is the entry: all others can be read from it.

    ``block`` is the first block that can hold an event of theirs; 0 where it is not known.
    """

    chain_id: int
    dao: str
    rounds: str
    registry: str
    validators: str
    pool: str
    stake_token: str
    reward_token: str
    block: int = 0


@dataclass(frozen=True, slots=True)
class Call:
    """A transaction that nobody has signed yet. ``to`` None creates a contract; ``value`` in wei."""

    to: str | None
    data: bytes
    value: int = 0


@dataclass(frozen=True, slots=True)
class Event:
    """One decoded log of one of our contracts.

    ``contract`` and ``name`` are as in Solidity; ``args`` has the Solidity parameter names, with bytes32 as bytes,
    addresses checksummed, and the structs Attestation, ScoreLeaf and Parameters as the dataclasses above.
    """

    block: int
    block_hash: bytes
    log_index: int
    transaction_hash: bytes
    contract: str
    name: str
    args: Mapping[str, Any]


BlockId = int | str | bytes
"""A height, a tag ("latest", "finalized", ...) or a block hash (reads at a hash follow EIP-1898)."""
