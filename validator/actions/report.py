"""Audit reports: sign and publish one, and hold one against the chain."""

from __future__ import annotations

from pathlib import Path

from validator.actions.connect import View
from validator.actions.home import account, has_keys, write_private
from validator.audit.case import AuditError, scan
from validator.audit.report import MAX_BYTES, AuditReport, ReportError, make_report
from validator.audit.verdict import Verdict
from validator.rounds.lifecycle import fold
from validator.settings import Settings


def sign_report(view: View, settings: Settings, verdict: Verdict) -> AuditReport:
    """The verdict, signed by this home's account."""
    if not has_keys(settings):
        raise AuditError("a report is signed: create keys (`validator keys create`), or set --home to where they are")
    return make_report(verdict, view.deployment, account(settings))


def write_report(report: AuditReport, path: Path) -> None:
    """Write a report to a new file; an existing one is never overwritten."""
    write_private(path, report.to_bytes())
    path.chmod(0o644)


def report_bytes(path: Path) -> bytes:
    """The bytes of a report, bounded before they are read."""
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ReportError(f"{path} has {size} bytes, a report at most {MAX_BYTES}: this is another file")
    return path.read_bytes()


def check_against_chain(view: View, report: AuditReport) -> None:
    """Whether the report is about this DAO, and about the answer that its round ended with. Raises ReportError."""
    place = (view.deployment.chain_id, view.deployment.rounds.lower())
    if (report.chain_id, report.contract) != place:
        raise ReportError(
            f"the report is about chain {report.chain_id} and contract {report.contract}; this is chain {place[0]} and "
            f"contract {place[1]}"
        )
    state = fold(scan(view.follower())).by_number.get(report.round)
    if state is None or state.final is None:
        raise ReportError(f"the report is about round {report.round}, which is not finalised here")
    if state.final_digest.hex() != report.attestation or state.final["attempt"] != report.attempt:
        raise ReportError(
            f"the report is about another answer than the final one of round {report.round}: it names "
            f"{report.attestation[:16]}, the chain {state.final_digest.hex()[:16]}"
        )
