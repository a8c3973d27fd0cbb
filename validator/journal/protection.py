"""Signing protection in the manner of EIP-3076: one row a (chain, contract, validator, round, attempt), written before
the signer is called.

The file is opened exclusively, so two processes with one key cannot both sign from it. It is never created by accident:
a node that finds no file while the chain shows its past attestations refuses to start. The same content may be signed
again (a lost answer, a restart); other content never.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from validator.journal import interchange
from validator.journal.interchange import UNKNOWN, ProtectionError, Slot

__all__ = ["ProtectionError", "SigningProtection", "Slot"]

RETRY_SECONDS = 0.2

_EXISTS = "{} exists already; signing history is never overwritten"
_MISSING = (
    "{} is missing: import this validator's signing history (`validator keys protection-import`), or create an empty "
    "one (`validator keys protection-create`) only if this key has never signed; if it is lost: `validator keys "
    "protection-rebuild`"
)
_ONE = "chain_id = ? AND contract = ? AND validator = ? AND round = ? AND attempt = ?"
_SCHEMA = """
CREATE TABLE signatures (
    chain_id  INTEGER NOT NULL,
    contract  TEXT NOT NULL,
    validator TEXT NOT NULL,
    round     INTEGER NOT NULL,
    attempt   INTEGER NOT NULL,
    digest    BLOB NOT NULL CHECK (length(digest) = 32),
    PRIMARY KEY (chain_id, contract, validator, round, attempt)
) WITHOUT ROWID;
"""

T = TypeVar("T")


class SigningProtection:
    """The open history of signatures of this machine; holds the file's exclusive lock until closed."""

    def __init__(self, path: Path, *, create: bool = False) -> None:
        """Open `path`; raises `ProtectionError` if it is missing (unless `create`), damaged, or held by another
        process.
        """
        if create == path.exists():
            raise ProtectionError(_EXISTS.format(path) if create else _MISSING.format(path))
        if create:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.touch(mode=0o600)
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=1)
        try:
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("BEGIN EXCLUSIVE")
            if create:
                self._db.execute(_SCHEMA)
            self._db.execute("SELECT count(*) FROM signatures")
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            self._db.close()
            raise ProtectionError(
                f"{path} cannot be opened for this process alone ({error}); is another validator running with it?"
            ) from None

    def close(self) -> None:
        """Release the lock; idempotent."""
        self._db.close()

    def register(self, slot: Slot, digest: bytes) -> None:
        """Allow `digest` for `slot`, durably, or raise `ProtectionError` if other content was allowed before.

        The row is on the disk when this returns; only then may the signer be called.
        """
        self._write(lambda: self._sign(slot, digest))

    def learn(self, slot: Slot, digest: bytes) -> None:
        """Note that `digest` was signed for `slot`, as our signature over it proves: that alone may be signed again.

        Raises `ProtectionError` if this history knows of other content.
        """
        self._write(lambda: self._sign(slot, digest, proven=True))

    def block(self, slot: Slot) -> bool:
        """Allow nothing for `slot` any more, unless it is known what was signed; whether anything changed."""
        return self._write(lambda: self._insert(slot, UNKNOWN))

    def merge(self, raw: bytes) -> int:
        """Import an interchange document; returns the number of entries. One that contradicts ours is refused whole.

        Nothing becomes allowed by it that was not: where either side does not know what was signed, nothing may be.
        """
        entries = interchange.read(raw)

        def take() -> int:
            for slot, digest in entries:
                self._take(slot, digest)
            return len(entries)

        return self._write(take)

    def chains(self) -> set[int]:
        """Ids of the chains that anything was signed for."""
        with self._lock:
            return {row[0] for row in self._db.execute("SELECT DISTINCT chain_id FROM signatures")}

    def export(self) -> str:
        """The history as an interchange document."""
        with self._lock:
            rows = self._db.execute("SELECT * FROM signatures ORDER BY 1, 2, 3, 4, 5").fetchall()
        return interchange.write((Slot(*row[:5]), row[5]) for row in rows)

    def _write(self, change: Callable[[], T]) -> T:
        """All of `change` durably, or nothing of it."""
        with self._lock:
            self._db.execute("BEGIN EXCLUSIVE")
            try:
                result = change()
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
        return result

    def _insert(self, slot: Slot, digest: bytes) -> bool:
        values = (*slot.key(), digest)
        sql = "INSERT INTO signatures VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
        return self._db.execute(sql, values).rowcount > 0

    def _replace(self, slot: Slot, digest: bytes) -> None:
        sql = f"UPDATE signatures SET digest = ? WHERE {_ONE}"  # noqa: S608 - our own words
        self._db.execute(sql, (digest, *slot.key()))

    def _sign(self, slot: Slot, digest: bytes, *, proven: bool = False) -> None:
        if digest == UNKNOWN:
            raise ProtectionError("internal error: a digest of zeros cannot be signed")
        self._insert(slot, digest)
        known = self._known(slot)
        if known == UNKNOWN and proven:
            self._replace(slot, digest)
        elif known == UNKNOWN:
            raise ProtectionError(
                f"nothing is signed for round {slot.round}, attempt {slot.attempt}: it was open when this signing "
                "history was rebuilt or imported, and what was signed for it is not known; the next attempt or round "
                "will be"
            )
        elif known != digest:
            raise ProtectionError(
                f"refused to sign a second answer for round {slot.round}, attempt {slot.attempt}: "
                f"signed {known.hex()}, asked for {digest.hex()}; "
                "find out why this node's answer changed before anything else"
            )

    def _take(self, slot: Slot, digest: bytes) -> None:
        self._insert(slot, digest)
        known = self._known(slot)
        if known in (digest, UNKNOWN):
            return
        if digest != UNKNOWN:
            raise ProtectionError(
                f"the two histories contradict each other: for round {slot.round}, attempt {slot.attempt} of "
                f"{slot.validator} one has {known.hex()}, the other {digest.hex()}; nothing was imported"
            )
        self._replace(slot, UNKNOWN)

    def _known(self, slot: Slot) -> bytes:
        sql = f"SELECT digest FROM signatures WHERE {_ONE}"  # noqa: S608 - our own words
        return bytes(self._db.execute(sql, slot.key()).fetchone()[0])

    def signed(self, slot: Slot) -> bytes | None:
        """The digest that was allowed for `slot`, UNKNOWN, or None."""
        with self._lock:
            sql = f"SELECT digest FROM signatures WHERE {_ONE}"  # noqa: S608 - our own words
            row = self._db.execute(sql, slot.key()).fetchone()
        return row[0] if row else None


def inspect(path: Path) -> list[tuple[Slot, bytes]]:
    """What a history holds, without its lock: a node may be running with it. Raises `ProtectionError` for a file that
    is damaged.

    What is read while a node writes may be torn for a moment, so a damage has to show more than once.
    """
    for last in (False, False, True):
        try:
            return _inspect(path)
        except (sqlite3.Error, ProtectionError) as error:
            if last:
                raise ProtectionError(f"{path} is damaged ({error}): restore it from a backup, or rebuild it") from None
            time.sleep(RETRY_SECONDS)
    raise AssertionError("unreachable")


def _inspect(path: Path) -> list[tuple[Slot, bytes]]:
    # Immutable: SQLite then takes no lock, which the node that runs with this file would not give.
    db = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)
    try:
        verdict = db.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if verdict != "ok":
            raise ProtectionError(verdict)
        return [(Slot(*row[:5]), bytes(row[5])) for row in db.execute("SELECT * FROM signatures")]
    finally:
        db.close()
