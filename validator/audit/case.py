"""Everything public about one finalised round, read from an RPC and a content source that need not be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from web3 import Web3

from validator.chain.follower import Follower
from validator.chain.types import Attestation, Deployment, Event
from validator.content import ContentSource
from validator.errors import ValidatorError
from validator.manifest import Manifest
from validator.rounds.evidence import Evidence
from validator.rounds.lifecycle import Fact, RoundState, fold, submissions
from validator.rounds.types import Carry, Submission
from validator.stages.chronicle import to_fact
from validator.stages.discover import to_row
from validator.stages.documents import load_carry, load_manifest, read_evidence


class AuditError(ValidatorError):
    """The round cannot be audited, for a reason that is not a fault in it."""


@dataclass(frozen=True, slots=True)
class Case:
    """The case file of one round."""

    w3: Web3
    deployment: Deployment
    store: ContentSource
    facts: list[Fact]
    state: RoundState
    attestation: Attestation
    submitted: list[Submission]
    manifest: Manifest
    evidence: Evidence
    carry: Carry


def scan(follower: Follower) -> list[Fact]:
    """All finalised events of the DAO as the rules read them, in chain order."""
    return [to_fact(to_row(event)) for event in scan_events(follower)]


def scan_events(follower: Follower) -> list[Event]:
    """All finalised events of the DAO, in chain order."""
    events: list[Event] = []
    checkpoint = None
    while True:
        batch = follower.scan(checkpoint)
        if batch.rollback_to is not None:
            raise AuditError("the chain reorganised while it was read; run the audit again")
        events += batch.events
        if batch.checkpoint is None or (checkpoint and batch.checkpoint.number == checkpoint.number):
            return events
        checkpoint = batch.checkpoint


def open_case(
    w3: Web3,
    deployment: Deployment,
    store: ContentSource,
    facts: list[Fact],
    number: int,
    known: Carry | None = None,
) -> Case:
    """Gather the case of round `number`; raises AuditError when it is not finalised. `known`: the carry of the case of
    an earlier round, so that only what came after it is read.
    """
    rounds = fold(facts).by_number
    state = rounds.get(number)
    if state is None or state.final is None:
        final = ", ".join(str(r.round) for r in rounds.values() if r.final is not None) or "none yet"
        raise AuditError(f"round {number} is not finalised; finalised rounds: {final}")
    attestation = to_attestation(state.final)
    earlier = [r for r in sorted(rounds.values(), key=lambda r: r.round) if r.round < number and r.final is not None]
    return Case(
        w3=w3,
        deployment=deployment,
        store=store,
        facts=facts,
        state=state,
        attestation=attestation,
        submitted=submissions(facts, state.first_id, state.end_id),
        manifest=load_manifest(store, state.manifest),
        evidence=read_evidence(store, attestation.evidence),
        carry=load_carry(store, [r.final["evidence"] for r in earlier if r.final is not None], known),
    )


def to_attestation(fields: Mapping[str, Any]) -> Attestation:
    """Attested fields of an event as the typed statement."""
    return Attestation(**fields)
