"""One pass over everything that is due: the whole outer life of a validator is this function, repeated."""

from __future__ import annotations

import structlog

from validator.chain.errors import RpcFault
from validator.errors import ValidatorError
from validator.manifest import Manifest
from validator.rounds.lifecycle import Phase, RoundState
from validator.stages import advance, attest, claim, commit, discover, fetch, history, report, score
from validator.stages.documents import load_manifest
from validator.stages.node import Node

log = structlog.get_logger("round")


def tick(node: Node) -> None:
    """Read the chain, then do for each round what its phase asks for. A fault in one round does not hold up another."""
    discover.run(node)
    discover.learn_keys(node)
    history.check(node)
    if node.identity is not None:
        node.identity.sender.resume()
    now = node.finalised_time()
    for state in list(node.chronicle.rounds().values()):
        _guarded(node, state, state.phase(now))
    advance.run(node)


def _guarded(node: Node, state: RoundState, phase: Phase) -> None:
    try:
        _work(node, state, phase)
    except RpcFault:
        raise  # the chain is the same for every round: let the daemon back off
    except ValidatorError as error:
        log.warning("round waits", round=state.round, phase=phase.name.lower(), error=str(error))


def _work(node: Node, state: RoundState, phase: Phase) -> None:
    if phase is Phase.FINALISED:
        claim.run(node, state)
    if phase in (Phase.OPEN, Phase.CLOSED, Phase.REPORTING):
        manifest = manifest_of(node, state)
        tried = fetch.run(node, state, manifest)
        if phase is Phase.REPORTING:
            report.run(node, state, all_tried=tried)
    if phase in (Phase.COMMITTING, Phase.ATTESTING):
        commit.restore(node, state)
        score.run(node, state, manifest_of(node, state))
    if phase is Phase.COMMITTING:
        commit.run(node, state)
    if phase in (Phase.ATTESTING, Phase.FINALISED) and node.finalised_time() <= state.attest_deadline:
        attest.run(node, state)


def manifest_of(node: Node, state: RoundState) -> Manifest:
    """The round's manifest, fetched once."""
    if state.manifest not in node.manifests:
        node.manifests[state.manifest] = load_manifest(node.store, state.manifest)
    return node.manifests[state.manifest]
