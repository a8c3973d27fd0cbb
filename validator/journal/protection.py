"""Signing protection in the manner of EIP-3076: one row a (chain, contract, validator, round, attempt), written before
the signer is called.

The file is opened exclusively, so two processes with one key cannot both sign from it. It is never created by accident:
a node that finds no file while the chain shows its past attestations refuses to start. The same content may be signed
again (a lost answer, a restart); other content never.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from validator import strict_json
from validator.errors import ValidatorError

FORMAT = "poc-signing-protection/1"

_EXISTS = "{} exists already; signing history is never overwritten"
_MISSING = (
    "{} is missing: import this validator's signing history (`validator keys protection-import`), or create an empty "
    "one (`validator keys protection-create`) only if this key has never signed"
)
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


class ProtectionError(ValidatorError):
    """Signing would break protection, or protection cannot be established."""


@dataclass(frozen=True, slots=True)
class Slot:
    """What at most one content may be signed for. Addresses in lower-case hex."""

    chain_id: int
    contract: str
    validator: str
    round: int
    attempt: int

    def key(self) -> tuple[int, str, str, int, int]:
        """The primary key."""
        return (self.chain_id, self.contract.lower(), self.validator.lower(), self.round, self.attempt)


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
        with self._lock:
            self._db.execute("BEGIN EXCLUSIVE")
            try:
                self._insert(slot, digest)
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def _insert(self, slot: Slot, digest: bytes) -> None:
        values = (*slot.key(), digest)
        self._db.execute("INSERT INTO signatures VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", values)
        row = self._db.execute(
            "SELECT digest FROM signatures "
            "WHERE chain_id = ? AND contract = ? AND validator = ? AND round = ? AND attempt = ?",
            slot.key(),
        ).fetchone()
        if row[0] != digest:
            raise ProtectionError(
                f"refused to sign a second answer for round {slot.round}, attempt {slot.attempt}: "
                f"signed {row[0].hex()}, asked for {digest.hex()}; "
                "find out why this node's answer changed before anything else"
            )

    def signed(self, slot: Slot) -> bytes | None:
        """The digest that was allowed for `slot`, or None."""
        with self._lock:
            row = self._db.execute(
                "SELECT digest FROM signatures "
                "WHERE chain_id = ? AND contract = ? AND validator = ? AND round = ? AND attempt = ?",
                slot.key(),
            ).fetchone()
        return row[0] if row else None

    def export(self) -> str:
        """The history as interchange JSON."""
        with self._lock:
            rows = self._db.execute("SELECT * FROM signatures ORDER BY 1, 2, 3, 4, 5").fetchall()
        names = ("chain_id", "contract", "validator", "round", "attempt")
        entries = [{**dict(zip(names, row, strict=False)), "digest": row[5].hex()} for row in rows]
        return json.dumps({"format": FORMAT, "signatures": entries}, indent=1, sort_keys=True)

    def merge(self, text: str) -> int:
        """Import interchange JSON; returns the number of entries. Content that conflicts with ours is refused whole."""
        entries = _parse(text)
        with self._lock:
            self._db.execute("BEGIN EXCLUSIVE")
            try:
                for slot, digest in entries:
                    self._insert(slot, digest)
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
        return len(entries)


def _parse(text: str) -> list[tuple[Slot, bytes]]:
    try:
        document: Any = strict_json.loads(text.encode())
        if document["format"] != FORMAT:
            raise ProtectionError(f"not a signing history: format {document['format']!r}, wanted {FORMAT!r}")
        return [
            (
                Slot(int(e["chain_id"]), str(e["contract"]), str(e["validator"]), int(e["round"]), int(e["attempt"])),
                bytes.fromhex(e["digest"]),
            )
            for e in document["signatures"]
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise ProtectionError(f"not a signing history: {error}") from None
