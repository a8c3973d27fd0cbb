"""A backup: a folder of plain files, and `backup.json`, which says what each must be.

    {"format": "poc-backup/1", "program": "0.1.0", "schema": 2, "made": "2026-11-28T20:00:00Z", "contracts": ["0x.."],
     "files": [{"name": "journal.sqlite", "size": 12288, "sha256": "64 hex digits"}]}

Whoever restores one reads it as hostile: names out of a fixed set, sizes and digests compared, links refused.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, BinaryIO

import msgspec

from validator import strict_json
from validator.errors import ValidatorError

FORMAT, INDEX, HISTORY = "poc-backup/1", "backup.json", "signing-history.json"
INDEX_LIMIT = 1 << 20
_CHUNK = 1 << 20
_NAMES = re.compile(
    r"validator\.toml|journal(-0x[0-9a-f]{40})?\.sqlite|transactions\.sqlite|vana\.sqlite|signing-history\.json"
    r"|keys/(account|signing|hpke|records|vana|vana-archive|epoch-[1-9][0-9]{0,9})\.json"
)


class BackupError(ValidatorError):
    """A backup cannot be made, is not what it says it is, or would overwrite something."""


class File(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One file of a backup, by its name in the home; the signing history is an exported document."""

    name: Annotated[str, msgspec.Meta(max_length=128)]
    size: Annotated[int, msgspec.Meta(ge=0, le=2**53)]
    sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]


class Index(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """`backup.json`. `schema`: that of its journals; `made`: UTC."""

    format: str
    program: Annotated[str, msgspec.Meta(max_length=64)]
    schema: Annotated[int, msgspec.Meta(ge=0, le=2**31)]
    made: Annotated[str, msgspec.Meta(max_length=32)]
    contracts: list[Annotated[str, msgspec.Meta(pattern=r"^0x[0-9a-fA-F]{40}$")]]
    files: list[File]

    def names(self) -> set[str]:
        """What it holds."""
        return {file.name for file in self.files}


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup whose index was read. `digest`: SHA-256 of the index, which names all of it."""

    folder: Path
    index: Index
    digest: str


def read_backup(folder: Path) -> Backup:
    """The backup in `folder`, every file of it compared with the index. Raises BackupError."""
    path = folder / INDEX
    try:
        with path.open("rb") as stream:
            raw = stream.read(INDEX_LIMIT + 1)
    except OSError as error:
        raise BackupError(f"{path}: {error.strerror}; a backup is a folder that `validator backup` made") from None
    backup = Backup(folder, _index(raw), hashlib.sha256(raw).hexdigest())
    for file in backup.index.files:
        copy(backup, file, None)
    return backup


def _index(raw: bytes) -> Index:
    if len(raw) > INDEX_LIMIT:
        raise BackupError(f"{INDEX} is no index of a backup: more than {INDEX_LIMIT} bytes")
    try:
        index = msgspec.convert(strict_json.loads(raw), Index)
    except (ValueError, msgspec.ValidationError) as error:
        raise BackupError(f"{INDEX} is no index of a backup: {error}") from None
    if index.format != FORMAT:
        raise BackupError(f"{INDEX} has format {index.format!r:.80}, wanted {FORMAT!r}")
    bad = next((file.name for file in index.files if not _NAMES.fullmatch(file.name)), None)
    if bad is not None:
        raise BackupError(f"{INDEX} names {bad!r:.80}, which is no file of a home")
    if len(index.names()) != len(index.files):
        raise BackupError(f"{INDEX} names a file twice")
    return index


def copy(backup: Backup, file: File, target: Path | None) -> None:
    """Read a file of the backup and compare it with the index; with `target`, a path that is not taken, write what was
    read there (mode 0600, durably). Raises BackupError, with nothing left at `target`.
    """
    source = backup.folder / file.name
    try:
        with os.fdopen(os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise BackupError(f"{source} is no plain file")
            found = _pour(stream, file.size, target)
    except OSError as error:
        raise BackupError(f"{error.filename or source}: {error.strerror}") from None
    if found != (file.size, file.sha256):
        if target is not None:
            target.unlink()
        raise BackupError(f"{source} is not what {INDEX} says: it was changed or damaged; use another backup")


def _pour(stream: BinaryIO, limit: int, target: Path | None) -> tuple[int, str]:
    """(size, SHA-256) of a stream of which at most `limit` bytes and one more are read."""
    digest, size = hashlib.sha256(), 0
    out = None if target is None else os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
    try:
        while size <= limit and (chunk := stream.read(min(_CHUNK, limit + 1 - size))):
            digest.update(chunk)
            size += len(chunk)
            if out is not None:
                out.write(chunk)
        if out is not None:
            out.flush()
            os.fsync(out.fileno())
    finally:
        if out is not None:
            out.close()
    return size, digest.hexdigest()


def describe(folder: Path, name: str) -> File:
    """The index's entry for a file that was just written."""
    path = folder / name
    with path.open("rb") as stream:
        return File(name, path.stat().st_size, hashlib.file_digest(stream, "sha256").hexdigest())


def sync(path: Path) -> None:
    """Make a file, or the names in a folder, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
