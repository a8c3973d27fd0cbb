"""One pass over everything that is due: the whole outer life of a validator is this function, repeated."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

import structlog

from validator.chain.errors import RpcFault
from validator.chain.shared_sender import Sending
from validator.errors import ValidatorError
from validator.manifest import Manifest
from validator.rounds.lifecycle import Phase, RoundState
from validator.stages import advance, attest, claim, commit, discover, fetch, history, peers, release, report, score
from validator.stages.documents import load_manifest
from validator.stages.node import Node

log = structlog.get_logger("round")

SCORE_RETRY_SECONDS = 5.0
MAX_SCORE_RETRY_SECONDS = 300.0
_DIGITS = re.compile(r"[0-9]+")


def tick(node: Node) -> None:
    """Read the chain, then do for each round what its phase asks for. A fault in one round does not hold up another,
    and what has a deadline comes before fetching for the round that is still open.
    """
    if not discover.run(node):
        return
    discover.learn_keys(node)
    history.check(node)
    peers.run(node)
    if node.identity is not None:
        _guarded(node, "transactions", partial(_look_after, node, node.identity.sender))
    now = node.finalised_time()
    rounds = [(state, state.phase(now)) for state in node.chronicle.rounds().values()]
    for state, phase in rounds:
        if _is_ours(node, state):
            _guarded(node, f"round {state.round}", partial(_work, node, state, phase))
    _guarded(node, "advance", partial(advance.run, node))
    for state, phase in rounds:
        if phase is Phase.OPEN and node.reader is not None:
            _guarded(node, f"fetching for round {state.round}", partial(_prefetch, node, state))
    _guarded(node, "release", partial(release.run, node))
    node.let_go()


def _look_after(node: Node, sender: Sending) -> None:
    node.unsettled = tuple(intent.nonce for intent in sender.resume())


def _prefetch(node: Node, state: RoundState) -> None:
    fetch.run(node, state, manifest_of(node, state))


def _guarded(node: Node, what: str, work: Callable[[], object]) -> None:
    try:
        work()
    except RpcFault:
        raise  # the chain is the same for everything: let the daemon back off
    except ValidatorError as error:
        # Once, and not at every tick for hours: what differs in its numbers only is the same reason.
        reason = _DIGITS.sub("#", str(error))
        if node.waits.get(what) != reason:
            log.warning("waits", what=what, error=str(error))
        node.waits[what] = reason
    else:
        if node.waits.pop(what, None) is not None:
            log.info("goes on", what=what)


def _is_ours(node: Node, state: RoundState) -> bool:
    """Whether we have a say in the round: weight in its snapshot, or no identity at all (then we look on)."""
    return node.identity is None or state.weight([node.identity.operator.lower()]) > 0


def _work(node: Node, state: RoundState, phase: Phase) -> None:
    if phase is Phase.FINALISED:
        claim.run(node, state)
    if phase in (Phase.CLOSED, Phase.REPORTING) and node.reader is not None:
        tried = fetch.run(node, state, manifest_of(node, state))
        if phase is Phase.REPORTING:
            report.run(node, state, all_tried=tried)
    if phase in (Phase.COMMITTING, Phase.ATTESTING) and node.reader is not None:
        commit.restore(node, state)
        _score(node, state)
    if phase is Phase.COMMITTING:
        commit.run(node, state)
    if phase in (Phase.ATTESTING, Phase.FINALISED) and node.finalised_time() <= state.attest_deadline:
        attest.run(node, state)


def _score(node: Node, state: RoundState) -> None:
    """Scoring is dear: after a failure it is tried again only after a pause that doubles."""
    key = (state.round, state.attempt)
    failures, not_before = node.score_failures.get(key, (0, 0.0))
    if node.clock() < not_before or node.journal.step(*key, "scored") is not None:
        return
    if not node.scoring.acquire(blocking=False):  # memory and processors of this machine suffice for one at a time
        log.info("another DAO is being scored; this one's turn comes next", round=state.round)
        return
    try:
        score.run(node, state, manifest_of(node, state))
    except ValidatorError:
        pause = min(SCORE_RETRY_SECONDS * 2**failures, MAX_SCORE_RETRY_SECONDS)
        node.score_failures[key] = (failures + 1, node.clock() + pause)
        raise
    finally:
        node.scoring.release()


def manifest_of(node: Node, state: RoundState) -> Manifest:
    """The round's manifest, fetched once."""
    if state.manifest not in node.manifests:
        node.manifests[state.manifest] = load_manifest(node.store, state.manifest)
    return node.manifests[state.manifest]
