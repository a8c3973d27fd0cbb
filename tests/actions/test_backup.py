"""Backups by themselves: whole while a node writes, refused when they are not what they say, restored whole or not."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
import sqlite3
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from validator.actions import restore as restoring
from validator.actions.backup import backup
from validator.actions.backup_folder import FORMAT, HISTORY, INDEX, BackupError, read_backup
from validator.actions.home import create_keys
from validator.actions.protection import Rebuilt
from validator.actions.restore import MARKER, restore
from validator.journal import Journal, SigningProtection
from validator.journal.database import Mark, Row
from validator.journal.protection import Slot
from validator.settings import Settings, load_settings

SLOT = Slot(1, "0x" + "01" * 20, "0x" + "02" * 20, 7, 1)
OTHER = "journal-0x" + "ab" * 20 + ".sqlite"


@pytest.fixture
def home(tmp_path: Path) -> Settings:
    """A home with keys, a configuration, two journals and a signature."""
    settings = load_settings(tmp_path / "home")
    create_keys(settings, light=True)
    (tmp_path / "home" / "validator.toml").write_text('content = "local:store"\n')
    for name in ("journal.sqlite", OTHER):
        journal = Journal(settings.path(name))
        journal.take_step(1, 1, "scored", {"count": 3})
        journal.close()
    history = SigningProtection(settings.path("protection.sqlite"))
    history.register(SLOT, b"d" * 32)
    history.close()
    return load_settings(tmp_path / "home")


@pytest.fixture
def saved(home: Settings, tmp_path: Path) -> Path:
    return backup(home, tmp_path / "saved").folder


def empty_home(home: Settings, folder: Path) -> Settings:
    """Where nothing is but the keys and the password, which were saved apart."""
    folder.mkdir()
    shutil.copytree(home.path("keys"), folder / "keys")
    shutil.copy(home.path("password"), folder / "password")
    return load_settings(folder)


@pytest.fixture
def chain(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The rebuild needs a chain, and is tested with one in tests/integration: here is seen what it is given."""
    seen: list[bytes] = []

    def rebuild(settings: Settings, earlier: bytes | None = None) -> Rebuilt:
        assert earlier is not None
        seen.append(earlier)
        SigningProtection(settings.path("protection.sqlite"), create=True).close()
        return Rebuilt(2, 1)

    monkeypatch.setattr(restoring, "rebuild_history", rebuild)
    return seen


def test_backup__home_with_keys__holds_all_but_the_secrets_for_its_owner_alone(home: Settings, tmp_path: Path):
    made = backup(home, tmp_path / "saved")
    names = {OTHER, "journal.sqlite", HISTORY, "validator.toml"}
    assert made.index.names() == names
    assert {path.name for path in made.folder.iterdir()} == names | {INDEX}
    assert {stat.S_IMODE(path.stat().st_mode) for path in made.folder.iterdir()} == {0o600}
    assert stat.S_IMODE(made.folder.stat().st_mode) == 0o700
    assert made.store == home.path("store")
    (entry,) = json.loads((made.folder / HISTORY).read_text())["signatures"]
    assert (entry["round"], entry["digest"]) == (7, (b"d" * 32).hex())
    everything = b"".join(path.read_bytes() for path in made.folder.rglob("*") if path.is_file())
    assert home.path("password").read_bytes().strip() not in everything


def test_backup__with_keys__holds_the_keystores_and_never_the_password(home: Settings, tmp_path: Path):
    made = backup(home, tmp_path / "saved", keys=True)
    assert {"keys/account.json", "keys/hpke.json"} <= made.index.names()
    assert "password" not in {path.name for path in made.folder.rglob("*")}


def test_backup__while_a_node_writes_and_holds_its_history__is_one_moment_of_it(home: Settings, tmp_path: Path):
    journal, history = Journal(home.path("journal.sqlite")), SigningProtection(home.path("protection.sqlite"))
    stop, written = threading.Event(), threading.Semaphore(0)

    def write() -> None:
        for block in itertools.count(1):
            if stop.is_set():
                return
            row = Row(block, 0, b"t" * 32, "0xc", "Happened", {"n": block})
            journal.record([row], Mark(block, bytes(32), block))
            written.release()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for attempt in range(3):
            assert all(written.acquire(timeout=30) for _ in range(20))
            made = backup(home, tmp_path / f"saved-{attempt}")
            copy = Journal(made.folder / "journal.sqlite")
            mark = copy.mark()
            assert mark is not None
            assert [row.block for row in copy.events()] == list(range(1, mark.number + 1))
            copy.close()
    finally:
        stop.set()
        thread.join(30)
        journal.close()
        history.close()


def test_backup__there_already__is_refused_and_left(home: Settings, saved: Path):
    before = (saved / INDEX).read_bytes()
    with pytest.raises(BackupError, match="exists already"):
        backup(home, saved)
    assert (saved / INDEX).read_bytes() == before


def test_backup__cannot_be_completed__leaves_nothing(home: Settings, tmp_path: Path):
    home.path("journal.sqlite").write_bytes(b"no database" * 500)
    with pytest.raises(BackupError, match=r"journal\.sqlite cannot be copied"):
        backup(home, tmp_path / "below" / "saved")
    assert list((tmp_path / "below").iterdir()) == []


def test_backup__keys_without_a_history_or_nothing_at_all__is_refused(home: Settings, tmp_path: Path):
    with pytest.raises(BackupError, match="holds nothing to save"):
        backup(load_settings(tmp_path / "none"), tmp_path / "saved")
    home.path("protection.sqlite").unlink()
    with pytest.raises(BackupError, match="is missing although there are keys"):
        backup(home, tmp_path / "saved")


# Restoring


def test_restore__into_a_home_with_its_keys__puts_everything_back_and_rebuilds_on_the_old_history(
    home: Settings, saved: Path, tmp_path: Path, chain: list[bytes]
):
    new = empty_home(home, tmp_path / "new")
    done = restore(new, saved, alone=True)
    assert set(done.files) == {OTHER, "journal.sqlite", "validator.toml"}
    assert done.history == Rebuilt(2, 1)
    assert chain == [(saved / HISTORY).read_bytes()]
    for name in (OTHER, "journal.sqlite"):
        journal = Journal(new.path(name))
        assert journal.step(1, 1, "scored") == {"count": 3}
        journal.close()
        assert stat.S_IMODE(new.path(name).stat().st_mode) == 0o600
    assert not list(new.path("").glob(f"*{MARKER}*"))


def test_restore__keys_in_the_backup__need_only_the_password(home: Settings, tmp_path: Path, chain: list[bytes]):
    saved = backup(home, tmp_path / "saved", keys=True).folder
    done = restore(load_settings(tmp_path / "new"), saved, alone=True)
    assert "keys/account.json" in done.files
    assert (tmp_path / "new/keys/account.json").read_bytes() == home.path("keys/account.json").read_bytes()


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["validator.toml", "journal.sqlite", "protection.sqlite", "journal.sqlite-wal"])
def test_restore__something_is_there__refuses_and_leaves_all_as_it_was(
    home: Settings, saved: Path, tmp_path: Path, chain: list[bytes], name: str
):
    new = empty_home(home, tmp_path / "new")
    new.path(name).write_bytes(b"mine")
    before = files(tmp_path / "new")
    with pytest.raises(BackupError, match="is not overwritten"):
        restore(new, saved, alone=True)
    assert files(tmp_path / "new") == before


def test_restore__no_word_that_no_other_machine_signs__or_no_keys__refuses_before_anything_is_written(
    home: Settings, saved: Path, tmp_path: Path
):
    new = empty_home(home, tmp_path / "new")
    before = files(tmp_path / "new")
    with pytest.raises(BackupError, match="--no-other-machine"):
        restore(new, saved, alone=False)
    assert files(tmp_path / "new") == before
    with pytest.raises(BackupError, match="the keys are not in this backup"):
        restore(load_settings(tmp_path / "bare"), saved, alone=True)
    assert not (tmp_path / "bare").exists()


def test_restore__chain_is_away__has_no_history_and_goes_on_when_it_is_back(
    home: Settings, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    new = empty_home(home, tmp_path / "new")
    with pytest.raises(BackupError, match=r"all but the signing history is in place.*no DAO is configured"):
        restore(new, saved, alone=True)
    assert not new.path("protection.sqlite").exists()
    monkeypatch.setattr(restoring, "rebuild_history", lambda settings, earlier: Rebuilt(0, 0))
    assert restore(new, saved, alone=True).history == Rebuilt(0, 0)


@pytest.mark.parametrize("place", range(3))
def test_restore__killed_at_any_file__the_same_command_goes_on(
    home: Settings, saved: Path, tmp_path: Path, chain: list[bytes], monkeypatch: pytest.MonkeyPatch, place: int
):
    new, real, done = empty_home(home, tmp_path / "new"), Path.replace, [0]

    def dying(path: Path, target: Path) -> Path:
        if done[0] == place:
            raise KeyboardInterrupt
        done[0] += 1
        return real(path, target)

    with monkeypatch.context() as context:
        context.setattr(Path, "replace", dying)
        with pytest.raises(KeyboardInterrupt):
            restore(new, saved, alone=True)
    assert not new.path("protection.sqlite").exists()
    assert restore(new, saved, alone=True).history == Rebuilt(2, 1)
    assert new.path(OTHER).exists()
    assert not list(new.path("").glob(f"*{MARKER}*"))


# Backups that are not what they say

Document = dict[str, Any]


def changed(change: Callable[[Document], object]) -> Callable[[Path], None]:
    def spoil(saved: Path) -> None:
        document = json.loads((saved / INDEX).read_text())
        change(document)
        (saved / INDEX).write_text(json.dumps(document))

    return spoil


def rename_first(name: str) -> Callable[[Path], None]:
    return changed(lambda document: document["files"][0].update(name=name))


def flip(saved: Path) -> None:
    path = saved / "journal.sqlite"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def link(saved: Path) -> None:
    (saved / "validator.toml").rename(saved.parent / "elsewhere")
    (saved / "validator.toml").symlink_to(saved.parent / "elsewhere")


def pipe(saved: Path) -> None:
    (saved / "validator.toml").unlink()
    os.mkfifo(saved / "validator.toml")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (flip, "is not what backup.json says"),
        (lambda saved: (saved / "validator.toml").write_text(""), "is not what backup.json says"),
        (lambda saved: (saved / "validator.toml").unlink(), "validator.toml: No such file"),
        (link, "validator.toml: Too many levels of symbolic links"),
        (pipe, "is no plain file"),
        (lambda saved: (saved / INDEX).unlink(), "a folder that `validator backup` made"),
        (lambda saved: (saved / INDEX).write_bytes(b"[" * 100_000), "no index of a backup"),
        (lambda saved: (saved / INDEX).write_bytes(b" " * (1 << 20) + b"{}"), "more than 1048576 bytes"),
        (changed(lambda document: document.update(format="poc-backup/9")), "wanted 'poc-backup/1'"),
        (changed(lambda document: document.update(more=1)), "unknown field"),
        (changed(lambda document: document["files"].append(document["files"][0])), "names a file twice"),
        (rename_first("../keys/account.json"), "no file of a home"),
        (rename_first("/etc/passwd"), "no file of a home"),
        (rename_first("password"), "no file of a home"),
        (rename_first("protection.sqlite"), "no file of a home"),
        (rename_first("validator.toml\n"), "no file of a home"),
    ],
)
def test_restore__backup_is_not_what_it_says__is_refused_in_one_line_before_anything_is_written(
    home: Settings, saved: Path, tmp_path: Path, spoil: Callable[[Path], None], told: str
):
    spoil(saved)
    with pytest.raises(BackupError, match=told) as caught:
        restore(load_settings(tmp_path / "new"), saved, alone=True)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "new").exists()


def test_restore__backup_of_a_newer_release__names_it(home: Settings, saved: Path, tmp_path: Path):
    changed(lambda document: document.update(schema=999, program="9.1"))(saved)
    with pytest.raises(BackupError, match=r"newer release \(9\.1, schema 999"):
        restore(load_settings(tmp_path / "new"), saved, alone=True)


def test_index__as_it_is_written__is_the_documented_format(saved: Path):
    document = json.loads((saved / INDEX).read_text())
    assert document["format"] == FORMAT
    for file in document["files"]:
        data = (saved / file["name"]).read_bytes()
        assert (file["size"], file["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    assert read_backup(saved).index.names() == {file["name"] for file in document["files"]}
    assert sqlite3.connect(saved / "journal.sqlite").execute("PRAGMA journal_mode").fetchone() == ("delete",)
