"""Score: judge the included contributions, and put the evidence bundle where everyone can fetch it."""

from __future__ import annotations

import contextlib

import structlog

from validator.content import Cid, TooLarge
from validator.envelope import seal_shared
from validator.errors import ValidatorError
from validator.manifest import Manifest
from validator.rounds.evidence import Outcome, outcome
from validator.rounds.lifecycle import RoundState
from validator.rounds.score import Digests, Judged, check_versions, score_round
from validator.rounds.types import Carry, Submission, Terms
from validator.stages import fetch
from validator.stages.documents import PROBES_INFO, dao_context, file_digest, load_carry, load_judgement
from validator.stages.eta import Eta
from validator.stages.keyring import EpochKeys
from validator.stages.memory import epochs_of_memory, load_memory, name_memory, seal_memory
from validator.stages.node import Node
from validator.stages.open import open_all

log = structlog.get_logger("score")


class KeysMissing(ValidatorError):
    """What is to be scored was sealed for a key epoch whose secret this node does not have."""


def run(node: Node, state: RoundState, manifest: Manifest) -> None:
    """Score once an attempt, as soon as reporting has ended; needs the secrets of the key epochs concerned.

    Raises VersionMismatch, before anything is fetched or opened, where the manifest wants another scorer than this one.
    """
    if node.journal.step(state.round, state.attempt, "scored") is not None:
        return
    check_versions(manifest.versions)
    submitted, included = fetch.of_round(node, state), state.included()
    carry = carry_into(node, state)
    missing = _missing_epochs(node, manifest, carry, [item for item in submitted if item.id in included])
    if missing:
        epochs = ", ".join(map(str, missing))
        raise KeysMissing(f"key epoch {epochs} was not granted to this operator; ask the DAO's steward for a grant")
    _bring_here(node, [item for item in submitted if item.id in included])
    judged = _judge(node, state, manifest, carry, submitted, included)
    cid = node.store.put(judged.evidence.to_bytes())
    node.store.put(judged.accepted)
    node.store.put(_sealed_probes(node, manifest, judged.probes))
    if judged.memory:
        node.store.put(seal_memory(EpochKeys(node.epoch_secrets), judged.memory, judged.evidence.memory_epoch))
    node.journal.take_step(state.round, state.attempt, "scored", to_step(outcome(judged.evidence), cid.digest))
    log.info("scored", round=state.round, attempt=state.attempt, contributions=len(submitted), evidence=str(cid))


def _missing_epochs(node: Node, manifest: Manifest, carry: Carry, included: list[Submission]) -> list[int]:
    needed = {manifest.sealed.key_epoch} | {item.key_epoch for item in included}
    return sorted((needed | epochs_of_memory(node.store, manifest, carry)) - node.epoch_secrets.keys())


def _bring_here(node: Node, included: list[Submission]) -> None:
    """Fetch and pin what a quorum holds and we do not, before any of the dear work starts. Whoever reported it holds
    it, so a failure is passing and the stage is tried again.
    """
    for submission in included:
        if not fetch.available(node, submission):
            with contextlib.suppress(TooLarge):  # not what was declared: a verdict, which opening will come to
                fetch.read_envelope(node, submission)
                node.store.pin(Cid.from_chain(submission.digest, submission.codec))


def _judge(
    node: Node,
    state: RoundState,
    manifest: Manifest,
    carry: Carry,
    submitted: list[Submission],
    included: frozenset[int],
) -> Judged:
    place = (node.deployment.chain_id, node.deployment.rounds)
    context = dao_context(*place, node.deployment.dao, manifest.sealed.key_epoch)
    keys = EpochKeys(node.epoch_secrets)
    judgement = load_judgement(node.store, manifest, keys, context)
    memory = load_memory(node.store, manifest, carry, keys, judgement.problem.anchor)
    with contextlib.closing(
        open_all(submitted, included, manifest, keys, place, lambda item: fetch.read_envelope(node, item))
    ) as opened:
        return score_round(
            terms_of(state, *place),
            manifest,
            carry,
            judgement.problem,
            judgement.record_key,
            opened,
            Digests(
                probes=lambda data: file_digest(_sealed_probes(node, manifest, data)),
                accepted=file_digest,
                memory=lambda data, epoch: name_memory(keys, data, epoch),
            ),
            memory=memory,
            progress=Eta(state.round, node.progress),
            engine=node.engine,
        )


def _sealed_probes(node: Node, manifest: Manifest, probes: bytes) -> bytes:
    """Probes say what raises a score, so only holders of the key epoch may read them."""
    return seal_shared(node.epoch_secrets[manifest.sealed.key_epoch], probes, PROBES_INFO)


def terms_of(state: RoundState, chain_id: int, contract: str) -> Terms:
    """What the chain fixed for the round, as the scorer takes it."""
    return Terms(
        chain_id=chain_id,
        contract=contract.lower(),
        round=state.round,
        attempt=state.attempt,
        manifest=state.manifest,
        beacon=state.beacon,
        seed=state.seed,
        pool=state.pool,
        first_id=state.first_id,
        end_id=state.end_id,
    )


def carry_into(node: Node, state: RoundState) -> Carry:
    """What earlier finalised rounds hand to this one."""
    earlier = [other for number, other in sorted(node.chronicle.rounds().items()) if number < state.round]
    digests = [other.final["evidence"] for other in earlier if other.final is not None]
    node.carry = load_carry(node.store, digests, node.carry)
    return node.carry


def to_step(result: Outcome, evidence: bytes) -> dict[str, bytes | int]:
    """What the journal and the backup on chain keep of a scored round."""
    return {
        "inputs_root": result.inputs_root,
        "scores_root": result.scores_root,
        "earnings_root": result.earnings_root,
        "round_total": result.round_total,
        "earned_total": result.earned_total,
        "count": result.count,
        "evidence": evidence,
    }
