"""A signed audit report: who checked which final answer of a round, to which level, and what came of it.

One canonical JSON document. The auditor signs the EIP-712 type `AuditReport` in the domain of ScoringRounds; it names
the answer by the digest that the validators signed, and by SHA-256 the document `checks`, which is part of the report.
A report says what its signer says, and nothing else: whoever relies on it looks at who signed, or audits again.
"""

from __future__ import annotations

import hashlib
from typing import Annotated

import msgspec

from validator.audit.verdict import Verdict
from validator.chain.signer import Signer
from validator.chain.typed_data import TypedData, audit_report_data, recover
from validator.chain.types import Deployment
from validator.errors import ValidatorError
from validator.rounds.evidence import Address, Hex32, Natural

FORMAT = "poc-audit-report/1"
MAX_BYTES = 2**20

Level = Annotated[int, msgspec.Meta(ge=1, le=4)]
Signature = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{130}$")]


class ReportError(ValidatorError):
    """The bytes are not an audit report, or not one that its auditor signed."""


class Found(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One check."""

    name: str
    ok: bool
    detail: str


class Differs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first difference between the bundle that came out and the one that was published."""

    contribution: Natural | None
    field: str
    ours: str
    theirs: str


class Checks(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was checked: its digest is signed. `signatures`: good ones on the final answer."""

    checks: list[Found]
    difference: Differs | None
    signatures: Natural

    def digest(self) -> bytes:
        """SHA-256 of the canonical bytes."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).digest()

    @property
    def match(self) -> bool:
        """Every check passed and nothing differs."""
        return self.difference is None and all(check.ok for check in self.checks)


class AuditReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole report. `attestation`: EIP-712 digest of the final answer; `auditor`: whose signature it carries."""

    format: str
    chain_id: Natural
    contract: Address
    round: Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
    attempt: Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
    attestation: Hex32
    level: Level
    matches: bool
    checks: Checks
    auditor: Address
    signature: str

    def to_bytes(self) -> bytes:
        """Canonical bytes."""
        return msgspec.json.encode(self, order="sorted")

    def typed_data(self) -> TypedData:
        """What is signed."""
        return audit_report_data(
            self.chain_id,
            self.contract,
            self.round,
            self.attempt,
            bytes.fromhex(self.attestation),
            self.level,
            self.matches,
            self.checks.digest(),
        )


def make_report(verdict: Verdict, deployment: Deployment, signer: Signer) -> AuditReport:
    """Sign a verdict."""
    unsigned = AuditReport(
        format=FORMAT,
        chain_id=deployment.chain_id,
        contract=deployment.rounds.lower(),
        round=verdict.round,
        attempt=verdict.attempt,
        attestation=verdict.attestation.hex(),
        level=verdict.level,
        matches=verdict.match,
        checks=Checks(
            checks=[Found(check.name, check.ok, check.detail) for check in verdict.checks],
            difference=_differs(verdict),
            signatures=verdict.signatures,
        ),
        auditor=signer.address.lower(),
        signature="",
    )
    return msgspec.structs.replace(unsigned, signature=signer.sign_typed_data(unsigned.typed_data()).hex())


def read_report(data: bytes) -> AuditReport:
    """Read a report from untrusted bytes, and check that its auditor signed exactly this. Raises ReportError."""
    if len(data) > MAX_BYTES:
        raise ReportError(f"the report has {len(data)} bytes, at most {MAX_BYTES} are read")
    try:
        report = msgspec.json.decode(data, type=AuditReport)
        msgspec.convert(report.signature, Signature)
    except msgspec.MsgspecError as error:
        raise ReportError(f"the report is refused: {error}") from None
    if report.format != FORMAT or report.to_bytes() != data:
        raise ReportError(f"the report is refused: not {FORMAT} in canonical form")
    signer = recover(report.typed_data().digest, bytes.fromhex(report.signature))
    if signer is None or signer.lower() != report.auditor:
        raise ReportError(f"the report is refused: {report.auditor} did not sign what it says")
    if report.matches != report.checks.match:
        raise ReportError("the report is refused: its verdict is not what its own checks say")
    return report


def _differs(verdict: Verdict) -> Differs | None:
    found = verdict.difference
    return Differs(found.contribution, found.field, found.ours, found.theirs) if found is not None else None
