"""Journals of every earlier schema, as a node that played a round left them: brought up to date, and then used."""

from __future__ import annotations

import re
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.journal.make_schema import FOLDER
from validator.chain.transactions import Settled
from validator.journal import Journal, JournalError, database
from validator.journal.database import Mark, migrations, schema
from validator.journal.intents import Intents
from validator.rounds.lifecycle import Phase
from validator.stages.chronicle import Chronicle
from validator.stages.transaction_log import JournalledTransactions

EVERY = pytest.mark.parametrize("number", range(1, schema() + 1))

Rows = dict[str, list[tuple[Any, ...]]]


def lay(number: int, path: Path) -> Path:
    """A journal of schema `number`."""
    db = sqlite3.connect(path)
    db.executescript((FOLDER / f"{number}.sql").read_text())
    assert db.execute("PRAGMA user_version").fetchone() == (number,)
    db.close()
    return path


def contents(path: Path) -> Rows:
    """Every row of every table."""
    db = sqlite3.connect(path)
    try:
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {table: sorted(db.execute(f"SELECT * FROM {table}").fetchall(), key=repr) for table in tables}
    finally:
        db.close()


def definitions(path: Path) -> dict[str, str]:
    """Tables and indices as SQL says them, without its spaces and comments."""
    db = sqlite3.connect(path)
    try:
        found = db.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
        return {name: re.sub(r"\s+", " ", re.sub(r"--.*", "", sql)) for name, sql in found}
    finally:
        db.close()


def test_schemas__each_that_ever_was__is_kept():
    found = {int(path.stem) for path in FOLDER.glob("*.sql")}
    assert found == set(migrations()), "a new migration: run `python -m tests.journal.make_schema`, and commit its file"


@EVERY
def test_migrations__as_far_as_an_earlier_schema__are_what_they_were_then(number: int, tmp_path: Path):
    fresh = sqlite3.connect(tmp_path / "fresh.sqlite")
    for step in range(1, number + 1):
        fresh.executescript(migrations()[step])
    fresh.close()
    assert definitions(tmp_path / "fresh.sqlite") == definitions(lay(number, tmp_path / "kept.sqlite")), (
        "a migration that was released must not change: add another one"
    )


@EVERY
def test_open__journal_of_an_earlier_schema__is_brought_up_to_date_and_loses_nothing(number: int, tmp_path: Path):
    path = lay(number, tmp_path / "journal.sqlite")
    before = contents(path)
    assert all(before[table] for table in before), "each table holds something to lose"
    Journal(path).close()
    Journal(tmp_path / "new.sqlite").close()
    after = contents(path)
    assert {table: after[table] for table in before} == before
    assert definitions(path) == definitions(tmp_path / "new.sqlite")


@EVERY
def test_use__journal_of_an_earlier_schema__serves_a_node_as_a_new_one_does(number: int, tmp_path: Path):
    journal = Journal(lay(number, tmp_path / "journal.sqlite"))
    state = Chronicle(journal).rounds()[1]
    assert (state.phase(0), len(state.attestations)) == (Phase.FINALISED, 1)
    scored = journal.step(1, 1, "scored")
    assert scored is not None
    assert scored["scores_root"] == state.final["scores_root"]
    log = JournalledTransactions(journal)
    (operator,) = {sender for (sender,) in journal.query("SELECT sender FROM intents")}
    assert isinstance(log.find(31337, operator, "attest/1/1"), Settled)

    mark = journal.mark()
    assert mark is not None
    Intents(journal).add(31337, operator, "commit/2/1", log.next_nonce(31337, operator), b"")
    journal.record([], Mark(mark.number + 1, b"h" * 32, mark.timestamp + 1))
    journal.take_step(2, 1, "scored", {"count": 1})
    journal.set_content(b"d" * 32, 0, 7, "failed", 1, "not served", 5.0)
    journal.set_endpoint_range("http://one", 100, 2)
    journal.rollback(mark.number)
    assert journal.mark() == mark
    assert journal.step(2, 1, "scored") is None
    assert journal.step(1, 1, "scored") == scored
    assert journal.endpoint_range("http://one") == (100, 2)
    assert [row.key for row in Intents(journal).unsettled(31337, operator)] == ["commit/2/1"]
    journal.close()


def test_open__migration_fails__leaves_the_schema_before_it_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = lay(1, tmp_path / "journal.sqlite")
    before, sound = contents(path), migrations()
    halfway = {**sound, 2: "CREATE TABLE half (one INTEGER); INSERT INTO nowhere VALUES (1);"}
    monkeypatch.setattr(database, "migrations", lambda: halfway)
    with pytest.raises(sqlite3.OperationalError, match="nowhere"):
        Journal(path)
    assert contents(path) == before
    monkeypatch.undo()
    Journal(path).close()
    assert contents(path)["events"] == before["events"]


def test_open__two_at_once_after_an_upgrade__both_get_the_new_schema(tmp_path: Path):
    path, start, opened = lay(1, tmp_path / "journal.sqlite"), threading.Barrier(4), []

    def run() -> None:
        start.wait(10)
        journal = Journal(path)
        opened.append(journal.query("PRAGMA user_version")[0][0])
        journal.close()

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert opened == [schema()] * 4


def test_open__schema_of_a_newer_release__says_which_and_what_to_do_and_touches_nothing(tmp_path: Path):
    path = lay(schema(), tmp_path / "journal.sqlite")
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA user_version = {schema() + 1}")
    db.close()
    before = contents(path)
    with pytest.raises(JournalError, match=rf"newer release \(schema {schema() + 1}, here {schema()}\); run that"):
        Journal(path)
    assert contents(path) == before
