"""What one finalised round hands to the next."""

from __future__ import annotations

from validator.rounds.evidence import Evidence, EvidenceError
from validator.rounds.hashes import HASH_BYTES, is_ascending
from validator.rounds.types import Carry, Remembered


def carry_after(before: Carry, digest: bytes, evidence: Evidence, accepted: bytes) -> Carry:
    """State after the finalised bundle `evidence` (of digest `digest`) and its file of `accepted` hashes.

    Raises `EvidenceError` if the bundle does not follow on `before`, or the file is not the one it speaks of.
    """
    if bytes.fromhex(evidence.previous) != before.evidence:
        raise EvidenceError(
            f"evidence of round {evidence.round} follows on {evidence.previous}, expected {before.evidence.hex()}"
        )
    if len(accepted) != HASH_BYTES * evidence.accepted_count:
        raise EvidenceError(f"evidence of round {evidence.round} speaks of {evidence.accepted_count} accepted records")
    if not is_ascending(accepted):
        raise EvidenceError(f"the accepted records of round {evidence.round} are not in ascending order")
    return Carry(
        evidence=digest,
        rounds=before.rounds + 1,
        earnings=dict(evidence.earnings),
        known=before.known.union(accepted),
        memory=(*before.memory, _remembered(evidence)),
    )


def _remembered(evidence: Evidence) -> Remembered:
    return Remembered(
        manifest=bytes.fromhex(evidence.manifest),
        digest=bytes.fromhex(evidence.memory),
        size=evidence.memory_size,
        count=evidence.memory_count,
        epoch=evidence.memory_epoch,
    )
