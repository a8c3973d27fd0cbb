"""The table of transactions: what was going to be sent, at which nonce, and how it ended. Bodies are opaque here."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from validator.journal.database import Journal, JournalError

_COLUMNS = "id, chain_id, sender, key, nonce, body, outcome, transaction_hash, block"


@dataclass(frozen=True, slots=True)
class IntentRow:
    """One intent. `outcome` is None while it is under way; `body` is what its owner packed."""

    id: int
    chain_id: int
    sender: str
    key: str
    nonce: int
    body: bytes
    outcome: str | None
    transaction_hash: bytes | None
    block: int | None


class Intents:
    """The intents of one journal, by (chain id, sender)."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def newest(self, chain_id: int, sender: str, key: str) -> IntentRow | None:
        """The latest intent under `key`, settled or not."""
        where = "chain_id = ? AND sender = ? AND key = ? ORDER BY id DESC LIMIT 1"
        rows = self._journal.query(f"SELECT {_COLUMNS} FROM intents WHERE {where}", chain_id, sender, key)  # noqa: S608
        return IntentRow(*rows[0]) if rows else None

    def unsettled(self, chain_id: int, sender: str) -> list[IntentRow]:
        """Everything under way, by nonce."""
        where = "chain_id = ? AND sender = ? AND outcome IS NULL ORDER BY nonce"
        rows = self._journal.query(f"SELECT {_COLUMNS} FROM intents WHERE {where}", chain_id, sender)  # noqa: S608
        return [IntentRow(*row) for row in rows]

    def next_nonce(self, chain_id: int, sender: str) -> int:
        """One above the highest nonce of a settled intent; 0 if none."""
        where = "chain_id = ? AND sender = ? AND outcome IS NOT NULL"
        rows = self._journal.query(f"SELECT max(nonce) FROM intents WHERE {where}", chain_id, sender)  # noqa: S608
        return 0 if rows[0][0] is None else int(rows[0][0]) + 1

    def adopt(self, source: Intents, scope: str) -> int:
        """Take over what is under way in `source`, its keys under `scope`; returns how much. Whoever is killed in
        between can do it again. Raises `JournalError` when both hold one nonce.
        """
        journal = source._journal
        rows = [IntentRow(*row) for row in journal.query(f"SELECT {_COLUMNS} FROM intents WHERE outcome IS NULL")]  # noqa: S608
        try:
            with self._journal.transaction() as db:
                for row in rows:
                    self._take(db, row, f"{scope}/{row.key}")
        except sqlite3.IntegrityError:
            raise JournalError("two journals of this home hold transactions at one nonce: restore a backup") from None
        with journal.transaction() as db:
            db.executemany("DELETE FROM intents WHERE id = ?", [(row.id,) for row in rows])
        return len(rows)

    @staticmethod
    def _take(db: sqlite3.Connection, row: IntentRow, key: str) -> None:
        values = (row.chain_id, row.sender, key, row.nonce, row.body)
        same = "chain_id = ? AND sender = ? AND key = ? AND nonce = ? AND body = ?"
        if not db.execute(f"SELECT 1 FROM intents WHERE {same}", values).fetchall():  # noqa: S608
            db.execute("INSERT INTO intents (chain_id, sender, key, nonce, body) VALUES (?, ?, ?, ?, ?)", values)

    def add(self, chain_id: int, sender: str, key: str, nonce: int, body: bytes) -> None:
        """A new intent; raises `JournalError` when its key or its nonce is taken."""
        try:
            with self._journal.transaction() as db:
                db.execute(
                    "INSERT INTO intents (chain_id, sender, key, nonce, body) VALUES (?, ?, ?, ?, ?)",
                    (chain_id, sender, key, nonce, body),
                )
        except sqlite3.IntegrityError:
            raise JournalError(
                f"{key} at nonce {nonce} of {sender} is in the journal already; is another process using it?"
            ) from None

    def rewrite(self, chain_id: int, sender: str, key: str, body: bytes) -> None:
        """Replace the body of an intent under way (a further attempt)."""
        with self._journal.transaction() as db:
            where = "chain_id = ? AND sender = ? AND key = ? AND outcome IS NULL"
            db.execute(f"UPDATE intents SET body = ? WHERE {where}", (body, chain_id, sender, key))  # noqa: S608

    def settle(
        self, chain_id: int, sender: str, key: str, outcome: str, transaction_hash: bytes | None, block: int | None
    ) -> None:
        """Write the outcome of an intent under way; the last word."""
        with self._journal.transaction() as db:
            where = "chain_id = ? AND sender = ? AND key = ? AND outcome IS NULL"
            db.execute(
                f"UPDATE intents SET outcome = ?, transaction_hash = ?, block = ? WHERE {where}",  # noqa: S608
                (outcome, transaction_hash, block, chain_id, sender, key),
            )
