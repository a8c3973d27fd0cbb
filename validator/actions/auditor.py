"""The auditor: gather a finalised round and check it to a level."""

from __future__ import annotations

from validator.actions.connect import View
from validator.actions.home import account, has_keys, hpke_secret
from validator.audit.case import AuditError, open_case, scan
from validator.audit.rescore import refetch, rescore
from validator.audit.verdict import Check, Verdict
from validator.audit.verify import verify
from validator.influence.engine import IN_PROCESS, Engine
from validator.rounds.lifecycle import Fact
from validator.rounds.score import Progress
from validator.settings import Settings
from validator.stages.keys import granted_secrets


def audit_round(
    view: View,
    settings: Settings,
    number: int,
    level: int,
    progress: Progress | None = None,
    engine: Engine = IN_PROCESS,
) -> Verdict:
    """Audit round `number` at `level` 1 to 4, each including those before. From 3 on the home's keys must have been
    granted the data; a level is not begun when one before it failed.
    """
    facts = scan(view.follower())
    case = open_case(view.w3, view.deployment, view.store, facts, number)
    checks, signatures = verify(case)
    difference = None
    if level >= 2 and _passed(checks):
        checks += refetch(case)
    if level >= 3 and _passed(checks):
        # The same bytes from scratch are the same bytes from the published probes too: level 4 takes the place of 3.
        more, difference = rescore(
            case, _secrets(view, settings, facts), refit=level == 4, progress=progress, engine=engine
        )
        checks += more
    return Verdict(number, level, checks, signatures, difference)


def _passed(checks: list[Check]) -> bool:
    return all(check.ok for check in checks)


def _secrets(view: View, settings: Settings, facts: list[Fact]) -> dict[int, bytes]:
    if not has_keys(settings):
        raise AuditError(
            "levels 3 and 4 open the data: create keys (`validator keys create`) and ask the steward for a grant"
        )
    return granted_secrets(facts, view.deployment, account(settings).address, hpke_secret(settings), {})
