"""The journal: one SQLite file (WAL) a node, one writer, one rollback routine over every table.

Each step is written before it acts, so a process killed at any instant finds on restart what it had decided.
"""

from __future__ import annotations

import heapq
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec

from validator.errors import ValidatorError


class JournalError(ValidatorError):
    """The journal cannot be used as it is."""


@dataclass(frozen=True, slots=True)
class Row:
    """One finalised event: where it stands, who emitted it, what it says (integers, strings, bytes, lists and mappings
    of them).
    """

    block: int
    log_index: int
    transaction_hash: bytes
    contract: str
    name: str
    args: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Mark:
    """Scanned to this finalised block, inclusive."""

    number: int
    hash: bytes
    timestamp: int


PAGE = 1024
"""Events of one name that are read at once."""
KEPT_MARKS = 256
"""Checkpoints kept for finding back after a reorg."""

ROLLED_BACK = {"events": "block", "steps": "block", "checkpoints": "number"}
"""Tables whose rows a rollback deletes, with the column that says at which block each was learnt."""
REOPENED = {"intents": "block"}
"""Tables whose rows a rollback puts back under way: what was sent may have to be sent again."""
KEPT = {
    "about": "names the DAO, whatever its chain's branch",
    "content": "a digest means the same bytes on every branch",
    "endpoints": "what an endpoint bears does not depend on blocks",
}
"""Tables that a rollback leaves alone, and why. A test asks that every table of the schema stands in one."""

_encode = msgspec.msgpack.Encoder(order="deterministic").encode
_decode = msgspec.msgpack.Decoder().decode


_EVENT = "block, log_index, transaction_hash, contract, name, args"


def _row(block: int, index: int, transaction: bytes, contract: str, name: str, args: bytes) -> Row:
    return Row(block, index, transaction, contract, name, unpack(args))


def pack(value: Any) -> bytes:  # noqa: ANN401 - anything that `pack` wrote
    """MessagePack; integers beyond 64 bits travel as extension type 1 (signed, big-endian)."""
    return _encode(_widen(value))


def unpack(data: bytes) -> Any:  # noqa: ANN401
    """The inverse of `pack`."""
    return _narrow(_decode(data))


def _widen(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        small = -(2**63) <= value < 2**63
        return (
            int(value)
            if small
            else msgspec.msgpack.Ext(1, value.to_bytes((value.bit_length() + 8) // 8, "big", signed=True))
        )
    if isinstance(value, Mapping):
        return {str(key): _widen(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_widen(item) for item in value]
    return bytes(value) if isinstance(value, (bytes, bytearray, memoryview)) else str(value)


def _narrow(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, msgspec.msgpack.Ext):
        return int.from_bytes(value.data, "big", signed=True)
    if isinstance(value, dict):
        return {key: _narrow(item) for key, item in value.items()}
    return [_narrow(item) for item in value] if isinstance(value, list) else value


class Journal:
    """The open journal. Safe to share between threads: one connection behind one lock."""

    def __init__(self, path: Path) -> None:
        """Open or create the journal at `path` (mode 0600) and bring its schema up to date."""
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600, exist_ok=True)
        self._lock = threading.RLock()
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        migrate(self._db, path)

    def close(self) -> None:
        """Close the file; idempotent."""
        with self._lock:
            self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """One atomic write: all of the block is in the journal, or none of it."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def query(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:  # noqa: ANN401
        """Rows of one SELECT."""
        with self._lock:
            return self._db.execute(sql, values).fetchall()

    # --- what the chain said -----------------------------------------------------------------------------------------

    def mark(self) -> Mark | None:
        """How far finalised blocks were scanned; None before the first scan."""
        rows = self.query("SELECT number, hash, timestamp FROM checkpoints ORDER BY number DESC LIMIT 1")
        return Mark(*rows[0]) if rows else None

    def marks(self) -> list[Mark]:
        """The checkpoints that are kept, newest first."""
        return [
            Mark(*row) for row in self.query("SELECT number, hash, timestamp FROM checkpoints ORDER BY number DESC")
        ]

    def record(self, events: Iterable[Row], mark: Mark) -> None:
        """Add the events up to `mark` and move the checkpoint there, atomically. An empty range moves it too."""
        with self.transaction() as db:
            db.executemany(
                "INSERT OR REPLACE INTO events VALUES (?, ?, ?, ?, ?, ?)",
                [(e.block, e.log_index, e.transaction_hash, e.contract, e.name, pack(e.args)) for e in events],
            )
            db.execute("INSERT OR REPLACE INTO checkpoints VALUES (?, ?, ?)", (mark.number, mark.hash, mark.timestamp))
            db.execute(
                "DELETE FROM checkpoints WHERE number NOT IN "
                "(SELECT number FROM checkpoints ORDER BY number DESC LIMIT ?)",
                (KEPT_MARKS,),
            )

    def events(self, *names: str, after_block: int = -1) -> list[Row]:
        """Finalised events in chain order, all or those of the given names."""
        where = f" AND name IN ({','.join('?' * len(names))})" if names else ""
        rows = self.query(
            f"SELECT {_EVENT} FROM events WHERE block > ?{where} ORDER BY block, log_index",  # noqa: S608 - only '?'
            after_block,
            *names,
        )
        return [_row(*row) for row in rows]

    def each_event(self, *names: str, after_block: int = -1) -> Iterator[Row]:
        """The events of the given names in chain order, however many there are: some of each are in memory at a
        time.
        """
        return heapq.merge(
            *(self._each(name, after_block) for name in names), key=lambda row: (row.block, row.log_index)
        )

    def _each(self, name: str, after_block: int) -> Iterator[Row]:
        after = (after_block, 2**62)
        while True:
            rows = self.query(
                f"SELECT {_EVENT} FROM events INDEXED BY events_by_name "  # noqa: S608 - our own columns
                "WHERE name = ? AND (block, log_index) > (?, ?) ORDER BY block, log_index LIMIT ?",
                name,
                *after,
                PAGE,
            )
            yield from (_row(*row) for row in rows)
            if len(rows) < PAGE:
                return
            after = rows[-1][:2]

    def events_by_place(self, name: str, first: int, most: int) -> list[Row]:
        """At most `most` events of one name from the `first` on, counted from 0 in chain order."""
        place = self.query(  # counted in the index alone: to pass over whole rows takes many times longer
            "SELECT block, log_index FROM events INDEXED BY events_by_name "
            "WHERE name = ? ORDER BY block, log_index LIMIT 1 OFFSET ?",
            name,
            first,
        )
        if not place:
            return []
        rows = self.query(
            f"SELECT {_EVENT} FROM events INDEXED BY events_by_name "  # noqa: S608 - our own columns
            "WHERE name = ? AND (block, log_index) >= (?, ?) ORDER BY block, log_index LIMIT ?",
            name,
            *place[0],
            most,
        )
        return [_row(*row) for row in rows]

    def rollback(self, number: int) -> None:
        """Forget everything learned above block `number`: the one answer to a reorg, over every table that knows
        blocks.

        Transactions that were settled above it are under way again, so that they are looked for and sent anew. Content
        is kept (a digest means the same on every branch), and so is, in a file of its own, what was signed: a reorg
        never permits a second signature.
        """
        with self.transaction() as db:
            for table, column in ROLLED_BACK.items():
                db.execute(f"DELETE FROM {table} WHERE {column} > ?", (number,))  # noqa: S608 - our own names
            reopened = db.execute("SELECT id, chain_id, sender, key, nonce FROM intents WHERE block > ?", (number,))
            for id_, *name, nonce in reopened.fetchall():
                # A later try under the same key or nonce was prepared on the branch that is gone; the first one stands.
                db.execute(
                    "DELETE FROM intents WHERE id > ? AND chain_id = ? AND sender = ? AND (key = ? OR nonce = ?)",
                    (id_, *name, nonce),
                )
                db.execute(
                    "UPDATE intents SET outcome = NULL, transaction_hash = NULL, block = NULL WHERE id = ?", (id_,)
                )

    # --- what we did -------------------------------------------------------------------------------------------------

    def step(self, round_: int, attempt: int, step: str) -> dict[str, Any] | None:
        """What was recorded for a step, or None if it has not been taken."""
        rows = self.query("SELECT data FROM steps WHERE round = ? AND attempt = ? AND step = ?", round_, attempt, step)
        return unpack(rows[0][0]) if rows else None

    def take_step(self, round_: int, attempt: int, step: str, data: Mapping[str, Any]) -> None:
        """Record a step at the current checkpoint; taking it again replaces what it held."""
        mark = self.mark()
        block = mark.number if mark else 0
        with self.transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO steps VALUES (?, ?, ?, ?, ?)", (round_, attempt, step, block, pack(data))
            )

    def content_state(self, digest: bytes, codec: int, size: int) -> tuple[str, int, str, float] | None:
        """(state, tries, reason, retry at) of a file claimed to have `size` bytes, or None if it was never tried."""
        where = "digest = ? AND codec = ? AND size = ?"
        sql = f"SELECT state, tries, reason, retry_at FROM content WHERE {where}"  # noqa: S608 - only '?'
        rows = self.query(sql, digest, codec, size)
        return rows[0] if rows else None

    def set_content(
        self, digest: bytes, codec: int, size: int, state: str, tries: int, reason: str, retry_at: float
    ) -> None:
        """Record the outcome of a fetch; `retry_at` in Unix seconds."""
        with self.transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO content VALUES (?, ?, ?, ?, ?, ?, ?)",
                (digest, codec, size, state, tries, reason, retry_at),
            )

    def forget_content(self, digests: Iterable[bytes]) -> None:
        """What was let go of is no longer here: should it be wanted again, it has to be fetched again."""
        with self.transaction() as db:
            db.executemany("DELETE FROM content WHERE digest = ?", [(digest,) for digest in digests])

    def endpoint_range(self, endpoint: str) -> tuple[int, int] | None:
        """(blocks, patience) that were found for an endpoint's log queries; None if it is new."""
        rows = self.query("SELECT blocks, patience FROM endpoints WHERE endpoint = ?", endpoint)
        return rows[0] if rows else None

    def set_endpoint_range(self, endpoint: str, blocks: int, patience: int) -> None:
        """Keep what was found for an endpoint's log queries."""
        with self.transaction() as db:
            db.execute("INSERT OR REPLACE INTO endpoints VALUES (?, ?, ?)", (endpoint, blocks, patience))

    def bind(self, chain_id: int, contract: str) -> None:
        """Say which DAO this journal is about; raises `JournalError` if it is about another one."""
        with self.transaction() as db:
            db.execute("INSERT OR IGNORE INTO about VALUES (1, ?, ?)", (chain_id, contract.lower()))
        found = self.query("SELECT chain_id, contract FROM about")[0]
        if found != (chain_id, contract.lower()):
            raise JournalError(
                f"this home's journal is about the DAO {found[1]} on chain {found[0]}, not {contract} on {chain_id}: "
                "give each DAO a home of its own"
            )


def migrations() -> dict[int, str]:
    """The numbered SQL files that make a journal, by number, ascending."""
    files = sorted(resources.files("validator.journal").joinpath("migrations").iterdir(), key=lambda entry: entry.name)
    named = [entry for entry in files if entry.name.endswith(".sql")]
    scripts = {int(entry.name[:4]): entry.read_text() for entry in named}
    assert len(scripts) == len(named), "internal error: two migrations have one number, and one of them would be lost"
    return scripts


def schema() -> int:
    """The schema that this release writes: the number of its last migration."""
    return max(migrations())


def migrate(db: sqlite3.Connection, path: Path) -> None:
    """Apply the numbered SQL files newer than the file's `user_version`, each in one transaction with its number.

    Killed between two of them, it goes on with the next one; two processes may try at once.
    """
    scripts = migrations()
    version = _version(db)
    if version > max(scripts):
        raise JournalError(
            f"{path} was written by a newer release (schema {version}, here {max(scripts)}); run that release, or "
            "restore a backup"
        )
    for number in [number for number in scripts if number > version]:
        try:
            db.executescript(f"BEGIN IMMEDIATE;\n{scripts[number]}\nPRAGMA user_version = {number};\nCOMMIT;")
        except sqlite3.Error:
            if db.in_transaction:
                db.execute("ROLLBACK")
            if _version(db) < number:  # else another process was faster
                raise


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])
