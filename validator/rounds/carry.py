"""What one finalised round hands to the next."""

from __future__ import annotations

from validator.rounds.evidence import Evidence, EvidenceError
from validator.rounds.types import Carry


def carry_after(before: Carry, digest: bytes, evidence: Evidence) -> Carry:
    """State after the finalised bundle `evidence` (of digest `digest`); raises `EvidenceError` if it does not follow on
    `before`.
    """
    if bytes.fromhex(evidence.previous) != before.evidence:
        raise EvidenceError(
            f"evidence of round {evidence.round} follows on {evidence.previous}, expected {before.evidence.hex()}"
        )
    return Carry(
        evidence=digest,
        earnings=dict(evidence.earnings),
        known=before.known | {bytes.fromhex(item) for item in evidence.accepted},
    )
