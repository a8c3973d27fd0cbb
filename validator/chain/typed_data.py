"""What is signed and hashed off chain: EIP-712 typed data, signatures, and the commit hash.

Domain of all types: name "Proof of Contribution", version "1", the chain id, and the contract that verifies
(ScoringRounds for attestations, and for audit reports, which no contract reads;
ValidatorSet for signer consents, ContributionRegistry for submissions).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from eth_abi.abi import encode
from eth_account import Account
from eth_account.messages import SignableMessage, encode_typed_data
from eth_keys.exceptions import BadSignature
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from eth_utils.exceptions import ValidationError

from validator.chain.types import Attestation

NAME = "Proof of Contribution"
VERSION = "1"

Fields = tuple[tuple[str, str], ...]

ATTESTATION: Fields = (
    ("round", "uint64"),
    ("attempt", "uint32"),
    ("manifest", "bytes32"),
    ("seed", "bytes32"),
    ("inputsRoot", "bytes32"),
    ("scoresRoot", "bytes32"),
    ("earningsRoot", "bytes32"),
    ("roundTotal", "uint128"),
    ("earnedTotal", "uint128"),
    ("count", "uint32"),
    ("evidence", "bytes32"),
)
AUDIT_REPORT: Fields = (
    ("round", "uint64"),
    ("attempt", "uint32"),
    ("attestation", "bytes32"),
    ("level", "uint8"),
    ("matches", "bool"),
    ("checks", "bytes32"),
)
SIGNER_CONSENT: Fields = (("operator", "address"),)
SUBMISSION: Fields = (
    ("contributor", "address"),
    ("digest", "bytes32"),
    ("codec", "uint8"),
    ("size", "uint64"),
    ("keyEpoch", "uint32"),
    ("deadline", "uint64"),
)


@dataclass(frozen=True, slots=True)
class TypedData:
    """A message to sign (EIP-712), bound to one chain and one contract."""

    chain_id: int
    contract: str
    primary_type: str
    fields: Fields
    message: Mapping[str, Any]

    @property
    def signable(self) -> SignableMessage:
        """The form that eth_account signs."""
        return encode_typed_data(
            domain_data={
                "name": NAME,
                "version": VERSION,
                "chainId": self.chain_id,
                "verifyingContract": self.contract,
            },
            message_types={self.primary_type: [{"name": name, "type": kind} for name, kind in self.fields]},
            message_data=dict(self.message),
        )

    @property
    def digest(self) -> bytes:
        """The 32 bytes that are signed: keccak256(0x19 0x01 || domain separator || struct hash)."""
        signable = self.signable
        return keccak(b"\x19" + signable.version + signable.header + signable.body)


def attestation_data(chain_id: int, rounds: str, attestation: Attestation) -> TypedData:
    """``attestation`` as ``ScoreAttestation`` for the ScoringRounds contract at ``rounds``."""
    a = attestation
    values = (
        a.round,
        a.attempt,
        a.manifest,
        a.seed,
        a.inputs_root,
        a.scores_root,
        a.earnings_root,
        a.round_total,
        a.earned_total,
        a.count,
        a.evidence,
    )
    names = (name for name, _ in ATTESTATION)
    return TypedData(chain_id, rounds, "ScoreAttestation", ATTESTATION, dict(zip(names, values, strict=True)))


def attestation_digest(chain_id: int, rounds: str, attestation: Attestation) -> bytes:
    """The digest that validators commit to and sign; equals ``ScoringRounds.attestationDigest``."""
    return attestation_data(chain_id, rounds, attestation).digest


def audit_report_data(
    chain_id: int,
    rounds: str,
    round_number: int,
    attempt: int,
    attestation: bytes,
    level: int,
    matches: bool,
    checks: bytes,
) -> TypedData:
    """An auditor's ``AuditReport`` on the final answer ``attestation`` (its digest) of a round, for ScoringRounds at
    ``rounds``: whether the audit at ``level`` matches, and the SHA-256 of the document that says what was checked.
    """
    values = (round_number, attempt, attestation, level, matches, checks)
    names = (name for name, _ in AUDIT_REPORT)
    return TypedData(chain_id, rounds, "AuditReport", AUDIT_REPORT, dict(zip(names, values, strict=True)))


def signer_consent(chain_id: int, validators: str, operator: str) -> TypedData:
    """The signing key's consent to sign for ``operator``, verified by ValidatorSet at ``validators``."""
    return TypedData(chain_id, validators, "SignerConsent", SIGNER_CONSENT, {"operator": operator})


@dataclass(frozen=True, slots=True)
class Submission:
    """What a contributor signs so that a relayer can submit: ``deadline`` in seconds since the epoch, ``size`` in
    bytes.
    """

    contributor: str
    digest: bytes
    codec: int
    size: int
    key_epoch: int
    deadline: int

    def typed_data(self, chain_id: int, registry: str) -> TypedData:
        """For the ContributionRegistry at ``registry``."""
        message = {
            "contributor": self.contributor,
            "digest": self.digest,
            "codec": self.codec,
            "size": self.size,
            "keyEpoch": self.key_epoch,
            "deadline": self.deadline,
        }
        return TypedData(chain_id, registry, "Submission", SUBMISSION, message)


def commit_hash(
    chain_id: int, rounds: str, round_number: int, attempt: int, operator: str, digest: bytes, salt: bytes
) -> bytes:
    """keccak256(abi.encode(chainid, contract, round, attempt, operator, attestation digest, salt)): the commit on
    chain.

    The operator's address and the attempt are inside, so a copied commit can be revealed by nobody else and never
    again.
    """
    kinds = ["uint256", "address", "uint64", "uint32", "address", "bytes32", "bytes32"]
    return keccak(encode(kinds, [chain_id, rounds, round_number, attempt, operator, digest, salt]))


def recover(digest: bytes, signature: bytes) -> str | None:
    """The checksummed address whose key made the 65-byte ``signature`` (r, s, v) over ``digest``; None if malformed."""
    if len(digest) != 32 or len(signature) != 65:
        return None
    try:
        # The one call of eth_account that takes a bare digest; the typed data behind it is ours.
        return str(to_checksum_address(Account._recover_hash(digest, signature=signature)))
    except (BadSignature, ValidationError, ValueError):
        return None
