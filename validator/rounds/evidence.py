"""The evidence bundle: one canonical document a round and attempt, the same bytes for every honest validator.

It holds everything that a stranger needs to check the attestation, and nothing that was sealed: no plaintext, no loss
traces. Integers and lower-case hex only; keys sorted, no white space; the attestation carries the digest of the root of
its UnixFS file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import msgspec

from validator.errors import ValidatorError
from validator.rounds.merkle import EARNING_LEAF, INPUT_LEAF, SCORE_LEAF, Tree, build_tree, leaf_hash
from validator.rounds.types import WORDS, Status

FORMAT = "poc-evidence/1"
MAX_BYTES = 64 * 2**20
MEMORY_BYTES = 2**30
"""A file of paid records, sealed."""

Hex32 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]
Address = Annotated[str, msgspec.Meta(pattern=r"^0x[0-9a-f]{40}$")]
Natural = Annotated[int, msgspec.Meta(ge=0)]


class EvidenceError(ValidatorError):
    """The bytes are not an evidence bundle in canonical form."""


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One contribution of the round: what the chain said of it, and what became of it.

    `records`: records scored, `repeats`: records dropped as seen before; `raw`, `stderr`, `payable` in 1e-9 of the
    objective; `paid` in reward-token units; `reason`: a stable code, empty when there is nothing to add to the status.
    """

    id: Natural
    contributor: Address
    digest: Hex32
    codec: Natural
    size: Natural
    key_epoch: Natural
    included: bool
    status: Natural
    reason: str
    records: Natural
    repeats: Natural
    raw: int
    stderr: Natural
    payable: Natural
    paid: Natural

    def words(self) -> str:
        """The status in plain words."""
        return WORDS[Status(self.status)]


class Versions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Versions of the arithmetic and of the rules under which the bundle was made."""

    exact: Natural
    influence: Natural
    rounds: Natural


class Evidence(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole bundle.

    `previous`: digest of the last finalised round's bundle; `probes`: of the sealed file of the fitted estimator;
    `accepted`: of the file of keyed hashes of the records paid in this round, `accepted_count` of 16 bytes, ascending;
    `memory`: of the file of `memory_count` of these records, of `memory_size` bytes and sealed under `memory_epoch`;
    all zero when there is none.
    """

    format: str
    versions: Versions
    chain_id: Natural
    contract: Address
    round: Natural
    attempt: Natural
    manifest: Hex32
    beacon: Hex32
    seed: Hex32
    previous: Hex32
    pool: Natural
    probes: Hex32
    contributions: list[Line]
    accepted: Hex32
    accepted_count: Natural
    memory: Hex32
    memory_count: Natural
    memory_size: Natural
    memory_epoch: Natural
    earnings: list[tuple[Address, Natural]]
    inputs_root: Hex32
    scores_root: Hex32
    earnings_root: Hex32
    round_total: Natural
    earned_total: Natural

    def to_bytes(self) -> bytes:
        """Canonical bytes."""
        return msgspec.json.encode(self, order="sorted")

    def inputs_tree(self) -> Tree:
        """Tree over the included contributions, in order of id."""
        return build_tree([input_leaf(line) for line in self.contributions if line.included])

    def scores_tree(self) -> Tree:
        """Tree over all contributions of the round, in order of id."""
        return build_tree([score_leaf(line) for line in self.contributions])

    def earnings_tree(self) -> Tree:
        """Tree over lifetime earnings, in order of address."""
        return build_tree([leaf_hash(EARNING_LEAF, [account, amount]) for account, amount in self.earnings])


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a validator attests to: the fields of `ScoreAttestation` that scoring decides."""

    inputs_root: bytes
    scores_root: bytes
    earnings_root: bytes
    round_total: int
    earned_total: int
    count: int


def outcome(evidence: Evidence) -> Outcome:
    """The attested fields, recomputed from the lines and earnings of the bundle, never copied from its own roots."""
    return Outcome(
        inputs_root=evidence.inputs_tree().root,
        scores_root=evidence.scores_tree().root,
        earnings_root=evidence.earnings_tree().root,
        round_total=sum(line.paid for line in evidence.contributions),
        earned_total=sum(amount for _, amount in evidence.earnings),
        count=len(evidence.contributions),
    )


def sealed(evidence: Evidence) -> Evidence:
    """The same bundle with the roots and totals that its lines and earnings give."""
    result = outcome(evidence)
    return msgspec.structs.replace(
        evidence,
        inputs_root=result.inputs_root.hex(),
        scores_root=result.scores_root.hex(),
        earnings_root=result.earnings_root.hex(),
        round_total=result.round_total,
        earned_total=result.earned_total,
    )


def input_leaf(line: Line) -> bytes:
    """Leaf of the inputs tree."""
    values = [line.id, line.contributor, bytes.fromhex(line.digest), line.codec, line.size, line.key_epoch]
    return leaf_hash(INPUT_LEAF, values)


def score_leaf(line: Line) -> bytes:
    """Leaf of the scores tree, as `ScoringRounds.verifyScore` takes it."""
    return leaf_hash(SCORE_LEAF, [line.id, line.contributor, line.status, line.payable, line.raw, line.stderr])


def parse_evidence(data: bytes) -> Evidence:
    """Read a bundle from untrusted bytes; raises `EvidenceError` unless it is well-formed, canonical and ordered."""
    if len(data) > MAX_BYTES:
        raise EvidenceError(f"evidence of {len(data)} bytes exceeds the limit of {MAX_BYTES}")
    try:
        evidence = msgspec.json.decode(data, type=Evidence)
    except msgspec.MsgspecError as error:
        raise EvidenceError(f"evidence refused: {error}") from None
    if evidence.format != FORMAT:
        raise EvidenceError(f"evidence refused: format {evidence.format!r}, this node reads {FORMAT!r}")
    if evidence.to_bytes() != data:
        raise EvidenceError("evidence refused: not in canonical form")
    _check_order(evidence)
    return evidence


def _check_order(evidence: Evidence) -> None:
    ids = [line.id for line in evidence.contributions]
    if ids and ids != list(range(ids[0], ids[0] + len(ids))):
        raise EvidenceError("evidence refused: contributions are not the consecutive ids of the round")
    accounts = [account for account, _ in evidence.earnings]
    if accounts != sorted(set(accounts)):
        raise EvidenceError("evidence refused: earnings are not in ascending order of account")
    if any(line.status not in set(Status) for line in evidence.contributions):
        raise EvidenceError("evidence refused: unknown status")
    _check_ranges(evidence)


def _check_ranges(evidence: Evidence) -> None:
    """Every number must fit the type that the contracts have for it, or it could not be hashed into a leaf."""
    totals = (evidence.pool, evidence.round_total, evidence.earned_total, *(amount for _, amount in evidence.earnings))
    named = (
        evidence.chain_id < 2**256 and evidence.round < 2**64 and max(evidence.attempt, evidence.memory_epoch) < 2**32
    )
    counted = evidence.accepted_count <= sum(line.records for line in evidence.contributions if line.payable)
    counted = counted and evidence.memory_count <= evidence.accepted_count and evidence.memory_size <= MEMORY_BYTES
    fits = max(totals) < 2**128 and all(_fits(line) for line in evidence.contributions)
    if not (named and counted and fits):
        raise EvidenceError("evidence refused: a number is larger than the contracts can hold")


def _fits(line: Line) -> bool:
    small = line.codec < 2**8 and max(line.key_epoch, line.records, line.repeats) < 2**32
    small = small and max(line.id, line.size) < 2**64
    return small and max(line.payable, line.stderr, line.paid) < 2**128 and -(2**127) <= line.raw < 2**127
