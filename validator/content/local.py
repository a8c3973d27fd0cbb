"""The embedded store: a directory of blocks named by their hash, safe for several processes at once.

Layout: `blocks/<2 hex>/<sha256 hex>`, `pins/<cid>` (empty files: a pin is one atomic system call), `tmp/`, and
`.lock`, which holds the bytes in use, so that a write need not count the tree.
Writers take the lock, so that quota and sweep see a steady tree; readers take none, because a block is complete the
moment it has its name (`os.replace`), and what is read is hashed again.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from validator.content.block import MAX_BLOCK, Block, verified
from validator.content.cid import Cid
from validator.content.errors import BadBlock, BadCid, BadStore, NotFound, QuotaExceeded
from validator.content.store import read_file
from validator.content.unixfs import build, references

DEFAULT_QUOTA = 64 << 30
RESERVE = 16
"""One part in so many of the quota is kept for what this node makes itself: fetching may not fill the disk."""
SWEEP_GRACE = 3600.0


class LocalStore:
    """A content store in one directory.

    `quota` in bytes of blocks; checked before a write, by the size of the tree at that moment.
    """

    def __init__(self, path: Path | str, quota: int = DEFAULT_QUOTA) -> None:
        self._root = Path(path)
        self._blocks, self._pins, self._tmp = (self._root / name for name in ("blocks", "pins", "tmp"))
        self._quota = quota
        try:
            for directory in (self._blocks, self._pins, self._tmp):
                directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadStore(f"cannot use {self._root} as content store: {error.strerror}") from None

    @property
    def name(self) -> str:
        """`local:` and the directory."""
        return f"local:{self._root}"

    def get_block(self, cid: Cid) -> Block:
        """One block, hashed again after reading. Raises NotFound, or BadBlock when the disk has changed it."""
        try:
            data = _read_block(self._place(cid))
        except FileNotFoundError:
            raise NotFound(f"{self.name} does not have {cid}") from None
        return verified(cid, data, self.name)

    def read(self, cid: Cid, size_limit: int) -> bytes:
        """A whole file. Raises ContentError."""
        return read_file(cid, self.get_block, size_limit)

    def put(self, data: bytes) -> Cid:
        """Store and pin a file; when this returns it survives a power cut.

        Raises QuotaExceeded before writing anything.
        """
        with self._lock() as ledger:
            cid = self._write(build(data), len(data), ledger)
            self._add_pin(cid)
        return cid

    def put_block(self, block: Block) -> None:
        """Keep one verified block, unpinned: a sweep may take it once it is older than the grace.

        Raises QuotaExceeded before writing.
        """
        with self._lock() as ledger:
            if not self._path(block.cid).exists():
                self._check(ledger, len(block.data), self._quota - self._quota // RESERVE)
            self._write([block], len(block.data), ledger)

    def check_room(self, size: int) -> None:
        """Whether so many bytes may be fetched. Raises QuotaExceeded."""
        with self._lock() as ledger:
            self._check(ledger, size, self._quota - self._quota // RESERVE)

    @property
    def quota(self) -> int:
        """Bytes of blocks that may be held."""
        return self._quota

    def pin(self, cid: Cid) -> None:
        """Keep the DAG. Raises NotFound unless all of it is here."""
        with self._lock():
            if not self.has(cid):
                raise NotFound(f"{self.name} cannot pin {cid}: not all of its blocks are here; read it first")
            self._add_pin(cid)

    def unpin(self, cid: Cid) -> None:
        """Let a sweep take it."""
        (self._pins / str(cid)).unlink(missing_ok=True)

    def is_pinned(self, cid: Cid) -> bool:
        """Whether it is a pinned root."""
        return (self._pins / str(cid)).exists()

    def pins(self) -> list[Cid]:
        """The pinned roots, sorted."""
        return sorted(Cid.parse(entry.name) for entry in self._pins.iterdir() if _is_cid(entry.name))

    def has(self, cid: Cid) -> bool:
        """Whether every block of the DAG is here. Leaves are looked up by name, and verified when they are read.

        Raises BadDag or TooLarge for blocks that form no file.
        """
        try:
            return all(os.access(self._place(part), os.F_OK) for part in references(cid, self.get_block))
        except (NotFound, BadBlock):
            return False

    def usage(self) -> int:
        """Bytes of blocks held, counted."""
        return sum(entry.stat().st_size for entry in self._entries())

    def sweep(self, grace: float = SWEEP_GRACE) -> int:
        """Delete what no pin reaches and what a crash left half written, if older than `grace` seconds.

        Returns bytes freed.
        """
        before, freed = time.time() - grace, 0
        with self._lock() as ledger:
            # Below a damaged block nothing can be read, so nothing there is worth keeping; the pin itself stays.
            tolerate = (NotFound, BadBlock)
            keep = {part.digest.hex() for pin in self.pins() for part in references(pin, self.get_block, tolerate)}
            for entry in [*self._entries(), *os.scandir(self._tmp)]:
                if entry.name not in keep and entry.stat().st_mtime < before:
                    freed += entry.stat().st_size
                    Path(entry.path).unlink()
            ledger.set(self.usage())
        return freed

    def _place(self, cid: Cid) -> str:
        """The path of a block as text: to make a `Path` of it takes half as long as to read a small block."""
        name = cid.digest.hex()
        return f"{self._blocks}/{name[:2]}/{name}"

    def _path(self, cid: Cid) -> Path:
        return Path(self._place(cid))

    def _entries(self) -> Iterator[os.DirEntry[str]]:
        for shard in os.scandir(self._blocks):
            yield from os.scandir(shard.path)

    def _write(self, blocks: Iterable[Block], size: int, ledger: _Ledger) -> Cid:
        """Write what is missing or damaged; each file is synced once, then each directory. Returns the last CID."""
        used = self._check(ledger, size, self._quota)
        directories, last = {self._blocks}, None
        for block in blocks:
            path, last = self._path(block.cid), block.cid
            if path.exists() and path.read_bytes() == block.data:
                continue
            path.parent.mkdir(exist_ok=True)
            self._replace(path, block.data)
            used += len(block.data)
            directories.add(path.parent)
        for directory in directories:
            _sync_directory(directory)
        ledger.set(used)
        assert last is not None, "internal error: a file has at least one block"
        return last

    def _check(self, ledger: _Ledger, size: int, limit: int) -> int:
        """Bytes in use. Raises QuotaExceeded when `size` more would be above `limit`."""
        used = ledger.get(self.usage)
        if used + size > limit:
            raise QuotaExceeded(
                f"{self.name} holds {used} of {self._quota} bytes, {size} more do not fit: run "
                "`validator content gc` or raise the quota"
            )
        return used

    def _replace(self, path: Path, data: bytes) -> None:
        descriptor, name = tempfile.mkstemp(dir=self._tmp)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    def _add_pin(self, cid: Cid) -> None:
        (self._pins / str(cid)).touch()
        _sync_directory(self._pins)

    @contextmanager
    def _lock(self) -> Iterator[_Ledger]:
        """One writer at a time, over threads and processes; a killed holder frees it."""
        with (self._root / ".lock").open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield _Ledger(file)


class _Ledger:
    """Bytes in use, kept in the lock file. After a crash it may be behind by one file; the next sweep counts anew."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def get(self, count: Callable[[], int]) -> int:
        self._file.seek(0)
        text = self._file.read(20)
        return int(text) if text.isdigit() else count()

    def set(self, used: int) -> None:
        self._file.truncate(0)
        self._file.write(b"%d" % used)
        self._file.flush()


def _read_block(path: str) -> bytes:
    """A file's bytes, at most MAX_BLOCK of them, in one piece that is as large as needed and no larger: a buffer of the
    largest size for each block would cost more than its hash.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = min(os.fstat(descriptor).st_size, MAX_BLOCK)
        return os.read(descriptor, size) if size else b""
    finally:
        os.close(descriptor)


def _is_cid(name: str) -> bool:
    try:
        return str(Cid.parse(name)) == name
    except BadCid:
        return False


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
