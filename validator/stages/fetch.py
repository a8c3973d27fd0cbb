"""Fetch: the envelopes of a round into our own store, verified against their CIDs, before anyone asks for them."""

from __future__ import annotations

import structlog

from validator.content import Cid, ContentError
from validator.manifest import Manifest
from validator.rounds.lifecycle import RoundState
from validator.rounds.types import Submission
from validator.stages.node import Node

log = structlog.get_logger("fetch")

PATIENT_TRIES = 4
RETRY_SECONDS = 2.0
MAX_RETRY_SECONDS = 120.0
BUDGET_SECONDS = 20.0


def run(node: Node, state: RoundState, manifest: Manifest) -> bool:
    """Try what is not here yet and due, for at most about BUDGET_SECONDS, those tried least first.

    True once every contribution was fetched or has been tried PATIENT_TRIES times. The budget keeps content that nobody
    serves from holding up everything else that a tick has to do. Contributions whose declared size exceeds the
    manifest's limit are not fetched at all: they are refused by their size on chain.
    """
    wanted = [s for s in of_round(node, state) if s.size <= manifest.limits.envelope_bytes and not available(node, s)]
    waiting = sorted(wanted, key=lambda submission: _known(node, submission)[0])
    end = node.clock() + BUDGET_SECONDS
    done = True
    for submission in waiting:
        if node.clock() > end:
            return False
        done &= _fetch(node, submission)
    return done


def of_round(node: Node, state: RoundState) -> list[Submission]:
    """Submissions of a closed round, or all those so far of the open one."""
    if state.closed:
        return node.chronicle.submissions(state.first_id, state.end_id)
    judged = (other for other in node.chronicle.rounds().values() if other.closed and not other.abandoned)
    return node.chronicle.submissions(max((other.end_id for other in judged), default=1))


def available(node: Node, submission: Submission) -> bool:
    """Whether the envelope is in our store, verified, with exactly the size that this submission declared."""
    if submission.id not in node.held:
        known = node.journal.content_state(*_key(submission))
        if known is None or known[0] != "fetched":
            return False
        node.held.add(submission.id)
    return True


def read_envelope(node: Node, submission: Submission) -> bytes:
    """The verified bytes, at most as many as were declared; raises ContentError when they cannot be had."""
    return node.store.read(Cid.from_chain(submission.digest, submission.codec), submission.size)


def _key(submission: Submission) -> tuple[bytes, int, int]:
    return submission.digest, submission.codec, submission.size


def _known(node: Node, submission: Submission) -> tuple[int, float]:
    """(tries, retry at) so far."""
    _, tries, _, retry_at = node.journal.content_state(*_key(submission)) or ("", 0, "", 0.0)
    return tries, retry_at


def _fetch(node: Node, submission: Submission) -> bool:
    tries, retry_at = _known(node, submission)
    if node.clock() < retry_at:
        return tries >= PATIENT_TRIES
    try:
        size = len(read_envelope(node, submission))
        if size != submission.size:
            raise ContentError(f"contribution {submission.id} holds {size} bytes, the chain says {submission.size}")
        node.store.pin(Cid.from_chain(submission.digest, submission.codec))
    except ContentError as error:
        wait = min(RETRY_SECONDS * 2**tries, MAX_RETRY_SECONDS)
        node.journal.set_content(*_key(submission), "failed", tries + 1, str(error), node.clock() + wait)
        log.info("not fetched", contribution=submission.id, tries=tries + 1, error=str(error))
        return tries + 1 >= PATIENT_TRIES
    node.journal.set_content(*_key(submission), "fetched", tries + 1, "", 0.0)
    return True
