"""What `validator audit` does with one round or several: progress, tables, JSON, and signed reports."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from validator.cli.bars import bars
from validator.cli.common import emit, table

if TYPE_CHECKING:
    from validator.actions.auditor import Unaudited
    from validator.actions.connect import View
    from validator.audit.verdict import Verdict
    from validator.influence.engine import Engine
    from validator.settings import Settings

Ranges = list[tuple[int, int]]


def parse_rounds(text: str) -> Ranges:
    """`1-5` or `1,3,7-9` as (first, last) pairs."""
    found: Ranges = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not _is_number(first) or (dash and not _is_number(last)):
            raise typer.BadParameter(f"ROUND is a number from 1, or several as in 1-5 or 1,3,7-9; not {text!r}")
        low, high = int(first), int(last if dash else first)
        if not 0 < low <= high:
            raise typer.BadParameter(f"ROUND counts from 1 and upwards; not {text!r}")
        found.append((low, high))
    return found


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 60


@dataclass(frozen=True, slots=True)
class Auditing:
    """One run of the command."""

    view: View
    settings: Settings
    level: int
    report: Path | None
    publish: bool
    as_json: bool
    engine: Engine

    def one(self, number: int, grant: Path | None) -> bool:
        """Audit one round; whether it matches."""
        from validator.actions.auditor import audit_round, read_grant

        document = None if grant is None else read_grant(grant)
        self._check_signing([self.report] if self.report is not None else [])
        with bars() as progress:
            verdict = audit_round(
                self.view, self.settings, number, self.level, progress, grant=document, engine=self.engine
            )
        signed = self._signed(verdict, self.report)
        if self.as_json:
            emit({**verdict.to_dict(), **signed}, True)
            return verdict.match
        rows = [("ok" if check.ok else "FAIL", check.name, check.detail) for check in verdict.checks]
        table(f"Round {number}, audit level {self.level}", ("", "check", "found"), rows)
        for name, where in signed.items():
            typer.echo(f"signed, {name}: {where}")
        typer.echo("match" if verdict.match else f"NO MATCH: {verdict.difference or 'see the failed checks'}")
        return verdict.match

    def several(self, wanted: Ranges | None) -> bool:
        """Audit several rounds, each told as it is done; whether all of them match."""
        from validator.actions.auditor import audit_rounds, final_rounds

        facts, final = final_rounds(self.view)
        numbers = _chosen(final, wanted)
        self._check_signing([self._file_of(number) for number in numbers] if self.report is not None else [])
        if self.report is not None:
            self.report.mkdir(parents=True, exist_ok=True)
        answers: list[dict[str, Any]] = []
        with bars() as progress:

            def tell(what: str, done: int, total: int) -> None:
                progress(f"round {len(answers) + 1} of {len(numbers)}: {what}", done, total)

            found = audit_rounds(self.view, self.settings, facts, numbers, self.level, tell, self.engine)
            for verdict in found:
                answers.append({**verdict.to_dict(), **self._signed_of_several(verdict)})
                progress("rounds", len(answers), len(numbers))
                if not self.as_json:
                    typer.echo(_line(verdict))
        matching = sum(answer["match"] is True for answer in answers)
        if self.as_json:
            emit({"level": self.level, "match": matching == len(answers), "rounds": answers}, True)
        else:
            typer.echo(f"{matching} of {len(answers)} rounds match at level {self.level}")
        return matching == len(answers)

    def _signed_of_several(self, verdict: Verdict | Unaudited) -> dict[str, str]:
        from validator.audit.verdict import Verdict

        if not isinstance(verdict, Verdict):
            return {}
        return self._signed(verdict, self._file_of(verdict.round) if self.report is not None else None)

    def _file_of(self, number: int) -> Path:
        assert self.report is not None
        return self.report / f"round-{number}.json"

    def _check_signing(self, files: list[Path]) -> None:
        """Refuse what could not be signed or written before the audit, which may take hours, and not after it."""
        from validator.actions.home import HomeError, has_keys

        if (files or self.publish) and not has_keys(self.settings):
            raise HomeError(
                "a report is signed: create keys (`validator keys create`), or set --home to where they are"
            )
        taken = next((path for path in files if path.exists()), None)
        if taken is not None:
            raise HomeError(f"{taken} exists already and is not overwritten; name another with --report")

    def _signed(self, verdict: Verdict, path: Path | None) -> dict[str, str]:
        """Where the signed report went."""
        from validator.actions.report import sign_report, write_report

        if path is None and not self.publish:
            return {}
        report, places = sign_report(self.view, self.settings, verdict), {}
        if path is not None:
            write_report(report, path)
            places["report"] = str(path)
        if self.publish:
            places["report_cid"] = str(self.view.store.put(report.to_bytes()))
        return places


def _chosen(final: list[int], wanted: Ranges | None) -> list[int]:
    """The rounds to audit: of a range those that are finalised, of single numbers exactly these."""
    from validator.audit.case import AuditError

    if wanted is None:
        numbers = final
    else:
        missing = next((low for low, high in wanted if low == high and low not in final), None)
        if missing is not None:
            known = ", ".join(map(str, final)) or "none yet"
            raise AuditError(f"round {missing} is not finalised; finalised rounds: {known}")
        numbers = [number for number in final if any(low <= number <= high for low, high in wanted)]
    if not numbers:
        raise AuditError(f"no such round is finalised; finalised rounds: {', '.join(map(str, final)) or 'none yet'}")
    return numbers


def _line(verdict: Verdict | Unaudited) -> str:
    from validator.audit.verdict import Verdict

    if not isinstance(verdict, Verdict):
        return f"round {verdict.round}: NOT AUDITED: {verdict.fault}"
    if verdict.match:
        return f"round {verdict.round}: match, {len(verdict.checks)} checks, {verdict.signatures} signatures"
    failed = [f"{check.name}: {check.detail}" for check in verdict.checks if not check.ok]
    return f"round {verdict.round}: NO MATCH: {verdict.difference or '; '.join(failed)}"
