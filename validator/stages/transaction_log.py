"""The sender's journal, kept in ours: where chain and journal, which do not know each other, are joined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace

from validator.chain.transactions import Attempt, Fees, Intent, Outcome, Settled
from validator.chain.types import Call
from validator.journal import Journal
from validator.journal.database import pack, unpack
from validator.journal.intents import IntentRow, Intents


class JournalledTransactions:
    """`TransactionLog` over the node's journal."""

    def __init__(self, journal: Journal, readers: Sequence[Journal] | None = None) -> None:
        """`readers` are the journals into which the chain is read, each of which rolls this one back too; by default
        this one itself.
        """
        self._readers = [journal] if readers is None else readers
        self._rows = Intents(journal)

    def find(self, chain_id: int, sender: str, key: str) -> Intent | Settled | None:
        """The newest intent under `key`."""
        row = self._rows.newest(chain_id, sender, key)
        if row is None:
            return None
        return _intent(row) if row.outcome is None else _settled(row)

    def unsettled(self, chain_id: int, sender: str) -> Sequence[Intent]:
        """Everything under way, by nonce."""
        return [_intent(row) for row in self._rows.unsettled(chain_id, sender)]

    def next_nonce(self, chain_id: int, sender: str) -> int:
        """One above the highest settled nonce."""
        return self._rows.next_nonce(chain_id, sender)

    def horizon(self) -> int | None:
        """The newest checkpoint's height, of whichever reader is furthest: that one would notice."""
        marks = [mark.number for mark in (reader.mark() for reader in self._readers) if mark is not None]
        return max(marks, default=None)

    def prepare(self, intent: Intent) -> None:
        """Store a new intent before anything is sent."""
        self._rows.add(intent.chain_id, intent.sender, intent.key, intent.nonce, _body(intent))

    def replaced(self, intent: Intent, attempt: Attempt) -> None:
        """Add an attempt before it is sent."""
        grown = replace(intent, attempts=(*intent.attempts, attempt))
        self._rows.rewrite(intent.chain_id, intent.sender, intent.key, _body(grown))

    def settled(self, intent: Intent, outcome: Outcome, transaction_hash: bytes | None, block: int | None) -> None:
        """Store the last word."""
        self._rows.settle(intent.chain_id, intent.sender, intent.key, str(outcome), transaction_hash, block)


def _body(intent: Intent) -> bytes:
    return pack({"call": asdict(intent.call), "gas": intent.gas, "attempts": [asdict(a) for a in intent.attempts]})


def _intent(row: IntentRow) -> Intent:
    body = unpack(row.body)
    attempts = tuple(Attempt(a["hash"], a["raw"], Fees(**a["fees"])) for a in body["attempts"])
    return Intent(row.key, row.chain_id, row.sender, row.nonce, Call(**body["call"]), body["gas"], attempts)


def _settled(row: IntentRow) -> Settled:
    assert row.outcome is not None
    return Settled(_intent(row), Outcome(row.outcome), row.transaction_hash)
