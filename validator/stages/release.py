"""Release: what a settled round no longer needs is unpinned, and what nothing pins is swept.

An envelope is held until every round that counts it can no longer be disputed: finalised, and the round's own
`exit_seconds` have passed since its attest deadline, which is as long as the contracts can still punish an answer. Of
an abandoned round nothing is released, because the next one takes its contributions over. Bundles, hashes of paid
records and memory files are never released: later rounds start from them.

Only what is known to be done with is ever named here; a pin that this file does not understand stays. Every step can be
repeated, and pins that must hold are made before any is dropped, so a kill at any instant loses nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import structlog

from validator.content import Cid, ContentError, LayeredStore
from validator.content.cid import Codec
from validator.manifest import Manifest
from validator.rounds.evidence import EvidenceError
from validator.rounds.lifecycle import RoundState
from validator.stages.documents import CODECS, read_evidence
from validator.stages.node import Node

log = structlog.get_logger("release")

BUDGET_SECONDS = 2.0
SWEEP_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Released:
    """What one settled round lets go of."""

    round: int
    cids: tuple[Cid, ...]


def run(node: Node) -> None:
    """Let go of what rounds that have just become settled held, for about BUDGET_SECONDS, and sweep once an hour."""
    hold_documents(node)
    end = node.clock() + BUDGET_SECONDS
    for due in plan(node):
        if not _unpin(node, due, end):
            return
        node.journal.take_step(due.round, 0, "released", {"count": len(due.cids)})
        node.released.add(due.round)
        node.exit_delays.pop(due.round, None)
        node.sweep_due = True
        log.info("released", round=due.round, pins=len(due.cids))
    if node.sweep_due and node.clock() - node.swept_at >= SWEEP_SECONDS:
        node.swept_at = node.clock()
        node.sweep_due = False
        log.info("swept", freed=sweep(node))


def plan(node: Node) -> Iterator[Released]:
    """What can be let go, a round at a time, oldest first."""
    rounds = node.chronicle.rounds()
    open_ = [state for state in rounds.values() if not is_settled(node, state)]
    for number in sorted(rounds):
        state = rounds[number]
        if number in node.released or state in open_ or state.final is None:
            continue
        if node.journal.step(number, 0, "released") is not None:
            node.released.add(number)
            continue
        yield Released(number, tuple(_no_longer_needed(node, state, open_)))


def is_settled(node: Node, state: RoundState) -> bool:
    """Whether nobody can dispute the round any more, by the clock of the newest finalised block."""
    if state.round in node.released:
        return True
    if state.final is None:
        # The contributions of an abandoned round belong to the rounds after it, which hold them.
        return state.abandoned
    now = node.finalised_time()
    if now <= state.attest_deadline + node.keep_seconds:
        return False
    if state.round not in node.exit_delays:  # latched when the round opened, so asked once
        node.exit_delays[state.round] = node.contracts.rounds.parameters_of(state.round).exit_seconds
    return now > state.attest_deadline + node.exit_delays[state.round] + node.keep_seconds


def hold_documents(node: Node) -> None:
    """Pin what the manifests in use name. A node that fetched them from others would lose them to a sweep."""
    for digest, manifest in node.manifests.items():
        if digest not in node.documents_pinned:
            missing = [cid for cid in _documents(digest, manifest) if not _pinned(node, cid)]
            if not missing:
                node.documents_pinned.add(digest)


def sweep(node: Node, grace: float | None = None) -> int:
    """Delete what nothing pins from the embedded store, if there is one. Returns bytes freed."""
    local = node.store.local if isinstance(node.store, LayeredStore) else None
    if local is None:
        return 0
    return local.sweep() if grace is None else local.sweep(grace)


def _no_longer_needed(node: Node, state: RoundState, open_: Sequence[RoundState]) -> Iterator[Cid]:
    """Envelopes of the round that no other submission under way names too, and the file of its probes."""
    past = {item.digest: item for item in node.chronicle.submissions(state.first_id, state.end_id)}
    # Of the other rounds there may be hundreds that can still be disputed: they are gone through in pages.
    first = node.chronicle.first_waiting
    counting = [(other.first_id, min(other.end_id, first)) for other in open_ if other.closed]
    for page in chain(*(node.chronicle.pages(*ids) for ids in counting), node.chronicle.pages(first)):
        for item in page:
            past.pop(item.digest, None)
    yield from (Cid.from_chain(item.digest, item.codec) for item in past.values())
    assert state.final is not None
    try:
        probes = bytes.fromhex(read_evidence(node.store, state.final["evidence"]).probes)
    except (ContentError, EvidenceError) as error:
        log.warning("the probes of a round stay pinned", round=state.round, reason=str(error))
        return
    yield from (Cid(codec, probes) for codec in _codecs())


def _unpin(node: Node, due: Released, end: float) -> bool:
    begun = node.release_place[1] if node.release_place[0] == due.round else 0
    if not begun:  # before anything can be swept: who submits one of these again must not find it taken for held
        node.journal.forget_content(cid.digest for cid in due.cids)
    for place, cid in enumerate(due.cids[begun:], start=begun + 1):
        node.store.unpin(cid)
        if node.clock() > end:
            node.release_place = (due.round, place)  # a daemon takes a moment for each: go on at the next tick
            return False
    return True


def _documents(digest: bytes, manifest: Manifest) -> Iterator[Cid]:
    yield Cid.from_chain(digest, CODECS["raw"])
    for file in (manifest.model.weights, manifest.sealed.file):
        yield Cid.from_chain(bytes.fromhex(file.digest), CODECS[file.codec])


def _pinned(node: Node, cid: Cid) -> bool:
    try:
        if not node.store.has(cid):
            return False  # not read yet; scoring will bring it here
        node.store.pin(cid)
    except ContentError as error:
        log.debug("not pinned", cid=str(cid), reason=str(error))
        return False
    return True


def _codecs() -> tuple[Codec, ...]:
    return ("raw", "dag-pb")
