"""Discover: finalised events into the journal, and the keys that the DAO granted to us out of them."""

from __future__ import annotations

from dataclasses import asdict, is_dataclass

import structlog
from hexbytes import HexBytes

from validator.chain.follower import Checkpoint
from validator.chain.rpc import understood
from validator.chain.types import Event
from validator.journal.database import Mark, Row
from validator.stages.keys import granted_secrets
from validator.stages.node import Node

log = structlog.get_logger("discover")


def run(node: Node) -> int:
    """Scan to the newest finalised block, undoing what a reorg unmade; returns the number of new events."""
    total = 0
    while True:
        marks = [Checkpoint(mark.number, mark.hash) for mark in node.journal.marks()]
        batch = node.follower.scan(marks[0] if marks else None, marks[1:])
        if batch.rollback_to is not None:
            log.warning("chain reorganised below a block taken for final; rolled back", block=batch.rollback_to)
            node.journal.rollback(batch.rollback_to)
            if node.transactions is not None:
                node.transactions.rollback(batch.rollback_to)
            node.chronicle.forget()
            node.history_checked = node.grants_read = 0
            node.epoch_secrets = {}
            node.due_since = {}
            continue
        if batch.checkpoint is None or (marks and batch.checkpoint == marks[0]):
            return total
        with understood("a finalised block"):
            header = node.w3.eth.get_block(HexBytes(batch.checkpoint.hash))
        mark = Mark(batch.checkpoint.number, batch.checkpoint.hash, int(header["timestamp"]))
        node.journal.record([to_row(event) for event in batch.events], mark)
        total += len(batch.events)


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
