"""Rounds: the list, and one of them with everything in it."""

from __future__ import annotations

from typing import Any

from validator.errors import ValidatorError
from validator.rounds.lifecycle import Phase, RoundState
from validator.rounds.score import version_gap
from validator.web.answers.checks import answers_of, level_one, quorum_of, turnout_of
from validator.web.answers.common import Absent, bundle_of, contribution_row, hex_or_none, hexed, part
from validator.web.models import EvidenceLink, RoundDetail, Rounds, RoundSummary
from validator.web.source import Bundle, Known, Source


def rounds_answer(source: Source, page: int = 1) -> Rounds:
    """The list of rounds, the newest first."""
    known = source.known()
    numbers = sorted(known.ledger.rounds, reverse=True)
    where, shown = part(numbers, page)
    return Rounds(
        chain_id=source.view.deployment.chain_id,
        contract=source.view.deployment.rounds.lower(),
        block=known.block,
        time=known.time,
        page=where,
        rounds=[RoundSummary(**_summary(source, known, known.ledger.rounds[number])) for number in shown],
    )


def round_state(known: Known, number: int) -> RoundState:
    """Round `number`; raises Absent."""
    state = known.ledger.rounds.get(number)
    if state is None:
        newest = max(known.ledger.rounds, default=0)
        raise Absent(f"there is no round {number} yet: {f'the newest is {newest}' if newest else 'none has opened'}")
    return state


def round_answer(source: Source, number: int, page: int = 1) -> RoundDetail:
    """Everything about one round. Raises Absent."""
    known = source.known()
    state = round_state(known, number)
    ledger = known.ledger
    bundle, fault = bundle_of(source, state)
    ids = ledger.ids(state)
    where, shown = part(ids, page)
    answers = answers_of(source, ledger, state)
    return RoundDetail(
        **_summary(source, known, state),
        **_origin(state),
        **_outcome(state),
        first_id=ids.start,
        end_id=ids.stop,
        evidence=_evidence(state, bundle, fault),
        quorum=quorum_of(state, answers),
        tally=dict(bundle.tally) if bundle is not None else {},
        validators=turnout_of(ledger, state),
        answers=answers,
        checks=level_one(source, ledger, state, bundle) if bundle is not None else [],
        unscorable=_unscorable(source, state),
        page=where,
        items=[contribution_row(ledger.submitted[id_ - 1], state, bundle) for id_ in shown],
    )


def _summary(source: Source, known: Known, state: RoundState) -> dict[str, Any]:
    phase = state.phase(known.time)
    ends_at = _ends_at(source, state, phase)
    return {
        "round": state.round,
        "phase": phase.name.lower(),
        "ends_at": ends_at,
        "seconds_left": max(0, ends_at - known.time) if ends_at is not None else None,
        "contributions": len(known.ledger.ids(state)),
        "capacity": source.parameters(state.round).max_contributions if phase is Phase.OPEN else None,
        "pool": state.pool if state.closed else None,
        "paid": state.final["round_total"] if state.final is not None else None,
        "attestations": len(state.attestations),
        "attempt": state.attempt,
    }


def _ends_at(source: Source, state: RoundState, phase: Phase) -> int | None:
    if phase is Phase.OPEN:
        return source.opened_at(state.round) + source.parameters(state.round).open_seconds
    deadlines = {
        Phase.REPORTING: state.report_deadline,
        Phase.COMMITTING: state.commit_deadline,
        Phase.ATTESTING: state.attest_deadline,
    }
    return deadlines.get(phase)


def _origin(state: RoundState) -> dict[str, Any]:
    return {
        "manifest": hexed(state.manifest),
        "seed": hex_or_none(state.seed),
        "beacon": hex_or_none(state.beacon),
        "report_deadline": state.report_deadline or None,
        "commit_deadline": state.commit_deadline or None,
        "attest_deadline": state.attest_deadline or None,
    }


def _unscorable(source: Source, state: RoundState) -> str | None:
    if state.final is not None or state.abandoned:
        return None
    try:
        return version_gap(source.manifest(state.manifest).versions) or None
    except ValidatorError:  # the manifest's own page tells why it cannot be had
        return None


def _outcome(state: RoundState) -> dict[str, Any]:
    final = state.final or {}
    roots = {name: hexed(final[name]) if final else None for name in ("inputs_root", "scores_root", "earnings_root")}
    return {**roots, "earned_total": final.get("earned_total"), "final_digest": hex_or_none(state.final_digest)}


def _evidence(state: RoundState, bundle: Bundle | None, fault: str | None) -> EvidenceLink | None:
    if state.final is None:
        return None
    cid = str(bundle.cid) if bundle is not None else None
    return EvidenceLink(digest=hexed(state.final["evidence"]), cid=cid, fault=fault)
