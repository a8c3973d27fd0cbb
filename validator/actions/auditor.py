"""The auditor: gather a finalised round and check it to a level."""

from __future__ import annotations

from pathlib import Path

from validator.actions.connect import View
from validator.actions.home import account, epoch_name, has_keys, hpke_secret, load_epoch
from validator.audit.case import AuditError, Case, open_case, scan
from validator.audit.grant import MAX_BYTES as MAX_GRANT
from validator.audit.grant import GrantedKeys, make_grant, needed_epochs, parse_grant
from validator.audit.rescore import refetch, rescore
from validator.audit.verdict import Check, Verdict
from validator.audit.verify import verify
from validator.influence.engine import IN_PROCESS, Engine
from validator.rounds.lifecycle import Fact
from validator.rounds.score import Progress
from validator.settings import Settings
from validator.stages.keyring import EpochKeys
from validator.stages.keys import granted_secrets


def audit_round(
    view: View,
    settings: Settings,
    number: int,
    level: int,
    progress: Progress | None = None,
    engine: Engine = IN_PROCESS,
    grant: bytes | None = None,
) -> Verdict:
    """Audit round `number` at `level` 1 to 4, each including those before. From 3 on the home's keys must have been
    granted the data, on chain by key epoch or by `grant`, a document for this round; a level is not begun when one
    before it failed.
    """
    facts = scan(view.follower())
    case = open_case(view.w3, view.deployment, view.store, facts, number)
    checks, signatures = verify(case)
    difference = None
    if level >= 2 and _passed(checks):
        checks += refetch(case)
    if level >= 3 and _passed(checks):
        keys = _keys(view, settings, facts) if grant is None else _granted(case, settings, grant)
        # The same bytes from scratch are the same bytes from the published probes too: level 4 takes the place of 3.
        more, difference = rescore(case, keys, refit=level == 4, progress=progress, engine=engine)
        checks += more
        if isinstance(keys, GrantedKeys) and keys.on_word:
            words = f"envelopes that do not open by the granter's word alone: {keys.on_word}"
            checks.append(Check("granter", True, words))
    return Verdict(number, level, checks, signatures, difference)


def grant_round(view: View, settings: Settings, number: int, auditor: bytes) -> bytes:
    """The document that lets the holder of the X25519 key `auditor` audit round `number`, made with this home's keys:
    the steward's, or those that a validator was granted.
    """
    facts = scan(view.follower())
    case = open_case(view.w3, view.deployment, view.store, facts, number)
    keys = EpochKeys(_keys(view, settings, facts))
    for epoch in sorted(needed_epochs(case) - keys.keys()):
        if settings.path(epoch_name(epoch)).exists():
            keys[epoch] = load_epoch(settings, epoch)
    return make_grant(case, keys, auditor).to_bytes()


def read_grant(file: Path) -> bytes:
    """The bytes of a grant, bounded before they are read."""
    size = file.stat().st_size
    if size > MAX_GRANT:
        raise AuditError(f"{file} has {size} bytes, a grant at most {MAX_GRANT}: this is another file")
    return file.read_bytes()


def _passed(checks: list[Check]) -> bool:
    return all(check.ok for check in checks)


def _keys(view: View, settings: Settings, facts: list[Fact]) -> EpochKeys:
    if not has_keys(settings):
        raise AuditError(
            "levels 3 and 4 open the data: create keys (`validator keys create`) and ask the steward for a grant"
        )
    return EpochKeys(granted_secrets(facts, view.deployment, account(settings).address, hpke_secret(settings), {}))


def _granted(case: Case, settings: Settings, grant: bytes) -> GrantedKeys:
    if not has_keys(settings):
        raise AuditError("a grant opens with the keys that it was made for: set --home to where they are")
    return GrantedKeys(parse_grant(grant), case, hpke_secret(settings))
