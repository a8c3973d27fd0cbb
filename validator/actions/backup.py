"""`validator backup`: what a home must not lose, copied while its node runs.

Journals are copied through SQLite's online backup, so the copy is one that the node could have been killed at. The
signing history is read last, without its lock: it knows of everything that the copied journals say was signed. Keys are
left out unless they are asked for, and the password always.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from validator.actions.backup_folder import FORMAT, HISTORY, INDEX, BackupError, File, Index, describe, sync
from validator.actions.home import PROTECTION, has_keys
from validator.actions.versions import program
from validator.errors import ValidatorError
from validator.journal import interchange
from validator.journal.protection import inspect
from validator.settings import CONFIG_NAME, Settings

_BUSY_SECONDS = 30.0
OTHERS = ("journal.sqlite", "transactions.sqlite", "vana.sqlite")
"""Journals that go by these names. Vana's signing history is not saved: it is rebuilt from the chain."""


@dataclass(frozen=True, slots=True)
class Made:
    """A backup that was made. `size` in bytes; `keys`: whether it holds the keystores; `store`: the embedded content
    store that it does not hold, if there is one.
    """

    folder: Path
    index: Index
    size: int
    keys: bool
    store: Path | None


def backup(settings: Settings, target: Path, *, keys: bool = False) -> Made:
    """Copy this home into the new folder `target`. All of it is there, durably, or `target` is not.

    Raises BackupError when `target` exists, or there is nothing to copy, and ProtectionError when keys have no signing
    history.
    """
    target = target.expanduser().absolute()
    if target.exists() or target.is_symlink():
        raise BackupError(f"{target} exists already and is not overwritten; name a new folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))  # mode 0700
    try:
        index = _fill(settings, part, keys)
        _write(part / INDEX, msgspec.json.format(msgspec.json.encode(index), indent=1))
        for folder in {part, *(path.parent for path in part.rglob("*"))}:
            sync(folder)
        part.rename(target)
        sync(target.parent)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    size = sum(file.size for file in index.files)
    return Made(target, index, size, keys and any(name.startswith("keys/") for name in index.names()), _store(settings))


def _fill(settings: Settings, part: Path, keys: bool) -> Index:
    home, schema = settings.home.expanduser(), 0
    files: list[File] = []
    for path in _journals(home):
        schema = max(schema, _snapshot(path, part / path.name))
        files.append(describe(part, path.name))
    names = [CONFIG_NAME] if (home / CONFIG_NAME).exists() else []
    if keys:
        names += sorted(str(path.relative_to(home)) for path in (home / "keys").glob("*.json"))
    for name in names:
        (part / name).parent.mkdir(exist_ok=True, mode=0o700)
        _write(part / name, (home / name).read_bytes())
        files.append(describe(part, name))
    if has_keys(settings) or (home / PROTECTION).exists():
        _write(part / HISTORY, _history(home / PROTECTION))
        files.append(describe(part, HISTORY))
    if not files:
        raise BackupError(f"{home} holds nothing to save; is --home right?")
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    contracts = settings.entries() if settings.contract else []
    return Index(FORMAT, program(), schema, now, contracts, sorted(files, key=lambda file: file.name))


def _journals(home: Path) -> Iterator[Path]:
    yield from sorted(home.glob("journal-0x*.sqlite"))
    yield from (path for name in OTHERS if (path := home / name).exists())


def _snapshot(path: Path, target: Path) -> int:
    """Copy a journal that may be in use; returns its schema. The copy is one file, without a log beside it."""
    try:
        source = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_BUSY_SECONDS)
        made = sqlite3.connect(target)
        try:
            source.backup(made)
            made.execute("PRAGMA journal_mode = DELETE")
            verdict = made.execute("PRAGMA integrity_check(1)").fetchone()[0]
            schema = int(made.execute("PRAGMA user_version").fetchone()[0])
        finally:
            made.close()
            source.close()
    except sqlite3.Error as error:
        raise BackupError(f"{path} cannot be copied: {error}") from None
    if verdict != "ok":
        raise BackupError(f"{path} is damaged ({verdict}); keep your earlier backups")
    target.chmod(0o600)
    sync(target)
    return schema


def _history(path: Path) -> bytes:
    if not path.exists():
        raise BackupError(f"{path} is missing although there are keys: `validator check` says what to do")
    return interchange.write(inspect(path)).encode()


def _write(path: Path, data: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _store(settings: Settings) -> Path | None:
    try:
        spec = settings.content_spec()
    except ValidatorError:
        return None
    return Path(spec.removeprefix("local:")) if spec.startswith("local:") and "," not in spec else None
