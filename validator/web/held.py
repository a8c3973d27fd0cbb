"""What the relay holds, on disk: one small file a CID, so that what it may hold is bounded over restarts too.

A file is written before its envelope is pinned and removed after it is unpinned. So after a kill at any instant there
may be a note of something that is not pinned, which costs room until it is let go, and never a pin that nobody
remembers.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import ExitStack
from pathlib import Path

import msgspec

from validator.content import BadCid, Cid, LayeredStore
from validator.errors import ValidatorError

MOST_NOTE = 4096


class HeldError(ValidatorError):
    """The relay's folder cannot be used."""


class Held(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One envelope: bytes, who sealed it, and until when it is held unless it is submitted, in Unix seconds."""

    size: int
    contributor: str
    until: float


class HeldFiles:
    """The envelopes of one folder, pinned in `store`. For one thread at a time; close it."""

    def __init__(self, folder: Path, store: LayeredStore) -> None:
        """Raises HeldError for a folder that cannot be made or read, that another process has, or that holds something
        else: two would each count only what they took themselves.
        """
        self._folder, self._store = folder, store
        with ExitStack() as opened:
            try:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                lock = opened.enter_context(folder.with_suffix(".lock").open("ab"))
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._entries = dict(_read(path) for path in folder.iterdir() if not path.name.endswith(".part"))
            except BlockingIOError:
                raise HeldError(f"another process relays from {folder.parent}: give each a home of its own") from None
            except OSError as error:
                raise HeldError(f"the relay's folder {folder}: {error.strerror}") from None
            self._opened = opened.pop_all()

    def close(self) -> None:
        """Leave the folder to others."""
        self._opened.close()

    def size(self) -> int:
        """Bytes held."""
        return sum(entry.size for entry in tuple(self._entries.values()))

    def put(self, cid: Cid, data: bytes, entry: Held) -> Cid:
        """Pin an envelope, or hold one longer that is here. What somebody else has pinned in this store stays theirs.
        Raises ContentError.
        """
        if cid not in self._entries and self._store.is_pinned(cid):
            return cid
        self._write(cid, entry)
        self._entries[cid] = entry
        try:
            self._store.put(data)
        except BaseException:
            self._forget(cid)
            raise
        return cid

    def expired(self, moment: float) -> list[tuple[Cid, Held]]:
        """What is held no longer than `moment`, Unix seconds."""
        return [(cid, entry) for cid, entry in self._entries.items() if entry.until <= moment]

    def remove(self, cid: Cid) -> None:
        """Unpin, and delete what no pin reaches if the store is embedded. Raises ContentError."""
        self._store.unpin(cid)
        self._forget(cid)
        if self._store.local is not None:
            self._store.local.sweep()

    def _forget(self, cid: Cid) -> None:
        self._entries.pop(cid, None)
        (self._folder / str(cid)).unlink(missing_ok=True)

    def _write(self, cid: Cid, entry: Held) -> None:
        path = self._folder / str(cid)
        part = path.with_suffix(".part")
        try:
            with part.open("wb") as file:
                file.write(msgspec.json.encode(entry))
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except OSError as error:
            raise HeldError(f"the relay's folder {self._folder}: {error.strerror}") from None


def _read(path: Path) -> tuple[Cid, Held]:
    try:
        with path.open("rb") as file:
            return Cid.parse(path.name), msgspec.json.decode(file.read(MOST_NOTE), type=Held)
    except (BadCid, msgspec.MsgspecError):
        raise HeldError(f"{path} is not what this program wrote: move it away") from None
