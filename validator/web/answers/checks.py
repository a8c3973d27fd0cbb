"""Signatures, quorum and audit level 1, checked by this server from the chain and the bundle, for the reader to see."""

from __future__ import annotations

from typing import Any

from eth_abi.exceptions import EncodingError

from validator.audit.case import Case, to_attestation
from validator.audit.verify import verify
from validator.chain.typed_data import attestation_digest, recover
from validator.errors import ValidatorError
from validator.rounds.included import decode_bitmap, quorum
from validator.rounds.lifecycle import RoundState
from validator.rounds.types import Carry
from validator.web.answers.common import hexed
from validator.web.ledger import Ledger, Snapshot
from validator.web.models import Attested, Check, Quorum, Turnout
from validator.web.source import Bundle, Source

NOBODY = Snapshot({}, {})


def answers_of(source: Source, ledger: Ledger, state: RoundState) -> list[Attested]:
    """Every attestation of the round's attempt: digest computed again, signer recovered and compared."""
    snapshot = ledger.at_close.get(state.round, NOBODY)
    return [
        _attested(source, state, snapshot, operator, entry) for operator, entry in sorted(state.attestations.items())
    ]


def _attested(
    source: Source, state: RoundState, snapshot: Snapshot, operator: str, entry: tuple[bytes, bytes, Any]
) -> Attested:
    logged, signature, fields = entry
    deployment = source.view.deployment
    digest = attestation_digest(deployment.chain_id, deployment.rounds, to_attestation(fields))
    recovered = source.answer(("recover", digest, signature), lambda: recover(digest, signature))
    signer = snapshot.signers.get(operator)
    return Attested(
        operator=operator,
        weight=snapshot.weights.get(operator, 0),
        digest=hexed(digest),
        signature=hexed(signature),
        signer=signer,
        recovered=recovered.lower() if recovered else None,
        good=recovered is not None and recovered.lower() == signer and digest == logged,
        equal=state.final is not None and digest == state.final_digest,
    )


def quorum_of(state: RoundState, answers: list[Attested]) -> Quorum:
    """Weight of good signatures on the final answer, or on the answer with most weight while there is none."""
    by_digest: dict[str, int] = {}
    for answer in answers:
        if answer.good and (answer.equal or state.final is None):
            by_digest[answer.digest] = by_digest.get(answer.digest, 0) + answer.weight
    weight = max(by_digest.values(), default=0)
    reached = state.total_weight > 0 and quorum(weight, state.total_weight)
    return Quorum(weight=weight, total=state.total_weight, reached=reached)


def turnout_of(ledger: Ledger, state: RoundState) -> list[Turnout]:
    """What each validator of the snapshot did in the round's current attempt, the heaviest first."""
    weights = ledger.at_close.get(state.round, NOBODY).weights
    return [
        Turnout(
            operator=operator,
            weight=weight,
            reported=operator in state.reports,
            held=_held(state, operator),
            committed=operator in state.commits,
            attested=operator in state.attestations,
        )
        for operator, weight in sorted(weights.items(), key=lambda item: (-item[1], item[0]))
    ]


def level_one(source: Source, ledger: Ledger, state: RoundState, bundle: Bundle) -> list[Check]:
    """The checks of `validator audit --level 1` on a final round, made once for each set of attestations."""
    assert state.final is not None
    key = ("level one", state.round, state.final["evidence"], len(state.attestations))
    try:
        return source.answer(key, lambda: _verify(source, ledger, state, bundle))
    except (ValidatorError, EncodingError) as fault:
        return [Check(name="documents", ok=False, detail=str(fault))]


def _verify(source: Source, ledger: Ledger, state: RoundState, bundle: Bundle) -> list[Check]:
    assert state.final is not None
    case = Case(
        w3=source.view.w3,
        deployment=source.view.deployment,
        store=source.view.store,
        facts=ledger.facts,
        state=state,
        attestation=to_attestation(state.final),
        submitted=list(ledger.submissions(ledger.ids(state))),
        manifest=source.manifest(state.manifest),
        evidence=bundle.evidence,
        carry=_carry(source, ledger, state),
    )
    return [Check(name=check.name, ok=check.ok, detail=check.detail) for check in verify(case)[0]]


def _carry(source: Source, ledger: Ledger, state: RoundState) -> Carry:
    """What level 1 needs of earlier rounds: the last bundle's digest and earnings."""
    before = ledger.before(state.round)
    if before is None or before.final is None:
        return Carry()
    digest = before.final["evidence"]
    return Carry(evidence=digest, earnings=dict(source.bundle(digest).evidence.earnings))


def _held(state: RoundState, operator: str) -> int:
    report = state.reports.get(operator)
    return len(decode_bitmap(state.first_id, state.end_id, report[1])) if report is not None else 0
