"""Discover: final events of Vana's contracts into the journal, as far as they concern us.

A registry that thousands of strangers write to is not copied: a file is kept if a key of it was granted to us or a job
of it assigned to us in the same scan; other files are read from the contract when a job comes.

An event that an upgrade renamed does not arrive, and nothing would be amiss. So the ids of files and jobs are counted:
they must follow on each other without gaps, and at the end of every scan reach what the contracts count themselves.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import structlog

from validator.chain.follower import Checkpoint
from validator.chain.rpc import understood
from validator.chain.types import Event
from validator.chain.vana import NotVana
from validator.journal.database import Mark, Row, unpack
from validator.stages.discover import to_row
from validator.stages.vana.ledger import Ledger, fold
from validator.stages.vana.node import VanaNode

log = structlog.get_logger("vana")

CURSOR = "Cursor"
"""A row of ours among the events: how far they were counted."""
BEHIND_ALL = 2**31
"""In the place of its log index."""
KEPT = ("FileAdded", "FileAddedV2", "PermissionGranted", "JobSubmitted", "JobCanceled", "ProofAdded")
_COUNTED: Mapping[str, tuple[str, str]] = {
    "FileAdded": ("files", "fileId"),
    "FileAddedV2": ("files", "fileId"),
    "JobSubmitted": ("jobs", "jobId"),
}


def run(node: VanaNode) -> bool:
    """One scan towards the newest final block; True when it was reached. Raises NotVana when the contracts no longer
    are what this release was written for.
    """
    marks = [Checkpoint(mark.number, mark.hash) for mark in node.journal.marks()]
    batch = node.follower.scan(marks[0] if marks else None, marks[1:])
    if batch.rollback_to is not None:
        log.warning("chain reorganised below a block taken for final; rolled back", block=batch.rollback_to)
        node.journal.rollback(batch.rollback_to)
        node.forget_chain()
        return False
    if batch.checkpoint is None:
        return True
    if not marks or batch.checkpoint != marks[0]:
        _record(node, batch.events, Mark(batch.checkpoint.number, batch.checkpoint.hash, batch.timestamp))
    if not batch.caught_up:
        return False
    _check_counts(node, batch.checkpoint.number)
    return True


def _record(node: VanaNode, events: Sequence[Event], mark: Mark) -> None:
    before = cursor_of(node)
    after = counted(before, events)
    rows = [to_row(event) for event in of_ours(events, node.account, ledger_of(node).jobs if events else ())]
    if after != before:
        # Along with the mark, or a process that is killed in between would miss what it has counted.
        rows.append(Row(mark.number, BEHIND_ALL, b"", "", CURSOR, after))
    node.journal.record(rows, mark)
    oldest = node.journal.marks()[-1].number
    with node.journal.transaction() as db:  # no rollback comes back to before the oldest mark, but for the newest row
        newest = "(SELECT max(block) FROM events WHERE name = ?)"
        db.execute(f"DELETE FROM events WHERE name = ? AND block < min(?, {newest})", (CURSOR, oldest, CURSOR))  # noqa: S608


def ledger_of(node: VanaNode) -> Ledger:
    """Everything that concerns us so far."""
    return fold(node.journal.events(*KEPT), node.account)


def cursor_of(node: VanaNode) -> dict[str, int]:
    """The newest file and job that were announced; 0 where none was."""
    rows = node.journal.query("SELECT args FROM events WHERE name = ? ORDER BY block DESC LIMIT 1", CURSOR)
    return dict(unpack(rows[0][0])) if rows else {"files": 0, "jobs": 0}


def counted(cursor: dict[str, int], events: Iterable[Event]) -> dict[str, int]:
    """The cursor after `events`. Raises NotVana for an id that is not the next one; one that was announced before (by
    the older event too, or again with a schema) is nothing new.
    """
    after = dict(cursor)
    for event in events:
        if event.name not in _COUNTED:
            continue
        what, argument = _COUNTED[event.name]
        found, last = event.args[argument], after[what]
        if last and found > last + 1:
            raise NotVana(
                f"block {event.block} announces {what[:-1]} {found}, and {last + 1} never was: the contract no longer "
                "emits the events that this release knows, or an endpoint withholds logs"
            )
        after[what] = max(last, found)
    return after


def of_ours(events: Iterable[Event], account: str, known: Collection[int] = ()) -> list[Event]:
    """The events that concern `account`, and the files that they are about. `known`: jobs of ours from before."""
    events = list(events)
    jobs = [e.args for e in events if e.name == "JobSubmitted" and e.args["teeAddress"] == account]
    granted = {e.args["fileId"] for e in events if e.name == "PermissionGranted" and e.args["account"] == account}
    files, ours = granted | {job["fileId"] for job in jobs}, {*known, *(job["jobId"] for job in jobs)}
    return [event for event in events if _concerns(event, account, files, ours)]


def _concerns(event: Event, account: str, files: set[int], jobs: set[int]) -> bool:
    who = {"PermissionGranted": "account", "JobSubmitted": "teeAddress", "ProofAdded": "attestator"}.get(event.name)
    if who is not None:
        return bool(event.args[who] == account)
    return event.args["jobId"] in jobs if event.name == "JobCanceled" else event.args["fileId"] in files


def _check_counts(node: VanaNode, block: int) -> None:
    """Whether every file and job that the contracts count at `block` was announced to us."""
    cursor, registry, pool = cursor_of(node), node.contracts.registry, node.contracts.tee_pool
    files, jobs = registry.files_count(block), pool.jobs_count(block)
    if files != cursor["files"] and (cursor["files"] or registry.file(files, block).added_at >= node.place.block):
        raise _silent("files", files, cursor["files"])
    if jobs != cursor["jobs"] and (cursor["jobs"] or pool.job(jobs, block).added_at >= _started(node)):
        raise _silent("jobs", jobs, cursor["jobs"])


def _started(node: VanaNode) -> int:
    """When the block from which we follow was made, in Unix seconds."""
    with understood(f"block {node.place.block}"):
        return int(node.w3.eth.get_block(node.place.block)["timestamp"])


def _silent(what: str, counts: int, seen: int) -> NotVana:
    return NotVana(
        f"the contract counts {counts} {what}, {seen} were announced: it no longer emits the events that this release "
        "knows, or an endpoint withholds logs; nothing is proven until the two agree"
    )
