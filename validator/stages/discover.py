"""Discover: finalised events into the journal, and the keys that the DAO granted to us out of them."""

from __future__ import annotations

import time
from dataclasses import asdict, is_dataclass

import structlog

from validator.chain.follower import Checkpoint
from validator.chain.types import Event
from validator.journal.database import Mark, Row
from validator.stages.keys import granted_secrets
from validator.stages.node import Node

log = structlog.get_logger("discover")


SCAN_SECONDS = 20.0
"""So long a tick reads on at most: a long backfill takes several, so that the node can be stopped and watched."""


def run(node: Node) -> bool:
    """Scan towards the newest finalised block, undoing what a reorg unmade. True when it was reached; False when the
    time was up before: then nothing may be done yet, because the node's view is of long ago.
    """
    end = time.monotonic() + SCAN_SECONDS
    while True:
        marks = [Checkpoint(mark.number, mark.hash) for mark in node.journal.marks()]
        batch = node.follower.scan(marks[0] if marks else None, marks[1:])
        if batch.rollback_to is not None:
            log.warning("chain reorganised below a block taken for final; rolled back", block=batch.rollback_to)
            node.journal.rollback(batch.rollback_to)
            if node.transactions is not None:
                node.transactions.rollback(batch.rollback_to)
            node.forget_chain()
            continue
        if batch.checkpoint is None:
            return True
        if not marks or batch.checkpoint != marks[0]:
            mark = Mark(batch.checkpoint.number, batch.checkpoint.hash, batch.timestamp)
            node.journal.record([to_row(event) for event in batch.events], mark)
            node.backfill.events += len(batch.events)
        if batch.caught_up:
            node.backfill.ended(batch.checkpoint.number)
            return True
        if time.monotonic() > end:
            return False


def to_row(event: Event) -> Row:
    """A decoded event as the journal keeps it: structs become mappings of their fields."""
    args = {key: asdict(value) if is_dataclass(value) else value for key, value in event.args.items()}  # type: ignore[arg-type]
    return Row(event.block, event.log_index, event.transaction_hash, event.contract, event.name, args)


def learn_keys(node: Node) -> None:
    """Take up the key epochs that were granted to our operator since the last look."""
    if node.reader is not None:
        facts = [*node.chronicle.facts("KeyEpochPublished"), *node.chronicle.facts("KeyGranted")[node.grants_read :]]
        secrets = granted_secrets(
            facts, node.deployment, node.reader.operator, node.reader.hpke_secret, node.epoch_secrets
        )
        if secrets.keys() != node.epoch_secrets.keys():
            node.score_failures.clear()  # what waited for a key need not wait any longer
        node.epoch_secrets = secrets
        node.grants_read = len(node.chronicle.facts("KeyGranted"))
