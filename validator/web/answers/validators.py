"""The validator set: stake, weight, and who took part in what."""

from __future__ import annotations

from collections.abc import Iterator

from validator.rounds.lifecycle import RoundState
from validator.web.answers.checks import NOBODY
from validator.web.ledger import Ledger, Member
from validator.web.models import ValidatorRow, Validators
from validator.web.source import Source


def validators_answer(source: Source) -> Validators:
    """Every operator that ever joined, the heaviest first."""
    ledger = source.known().ledger
    members = sorted(ledger.members.values(), key=lambda member: (-member.weight, -member.stake, member.operator))
    return Validators(
        total_weight=sum(member.weight for member in members),
        validators=[_row(ledger, member) for member in members],
    )


def _row(ledger: Ledger, member: Member) -> ValidatorRow:
    rounds = list(_rounds_with(ledger, member.operator))
    return ValidatorRow(
        operator=member.operator,
        signer=member.signer,
        state="left" if member.withdrawn else "leaving" if member.exit_at is not None else "active",
        stake=member.stake,
        weight=member.weight,
        exit_at=member.exit_at,
        rounds=len(rounds),
        reported=sum(member.operator in state.reports for state in rounds),
        committed=sum(member.operator in state.commits for state in rounds),
        attested=sum(member.operator in state.attestations for state in rounds),
        equal=sum(_equal(state, member.operator) for state in rounds),
        equivocations=member.equivocations,
        unrevealed=member.unrevealed,
        slashed=member.slashed,
        peer=member.peer or None,
    )


def _rounds_with(ledger: Ledger, operator: str) -> Iterator[RoundState]:
    """Closed rounds in whose snapshot the operator has weight."""
    for state in ledger.rounds.values():
        if state.closed and ledger.at_close.get(state.round, NOBODY).weights.get(operator):
            yield state


def _equal(state: RoundState, operator: str) -> bool:
    entry = state.attestations.get(operator)
    return entry is not None and state.final is not None and entry[0] == state.final_digest
