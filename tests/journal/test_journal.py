from __future__ import annotations

import sqlite3
from importlib import resources
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from validator.journal import Journal, JournalError
from validator.journal.database import KEPT, REOPENED, ROLLED_BACK, Mark, Row, pack, unpack
from validator.journal.intents import Intents


def event(block: int, index: int = 0, name: str = "Happened") -> Row:
    return Row(block, index, b"t" * 32, "0xc", name, {"big": 2**200, "data": b"\0\1", "list": [1, {"a": -(2**100)}]})


def mark(number: int) -> Mark:
    return Mark(number, bytes([number % 256]) * 32, number * 10)


plain = st.recursive(
    st.integers(-(2**256), 2**256) | st.binary(max_size=40) | st.text(max_size=20) | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(plain)
def test_pack__anything_an_event_may_hold__survives_the_round_trip(value: object):
    assert unpack(pack(value)) == value


def test_record__events_and_mark__are_read_back_after_reopening(tmp_path: Path):
    journal = Journal(tmp_path / "journal.sqlite")
    journal.record([event(2), event(1, 1), event(1, 0)], mark(2))
    journal.close()
    again = Journal(tmp_path / "journal.sqlite")
    assert [(row.block, row.log_index) for row in again.events()] == [(1, 0), (1, 1), (2, 0)]
    assert again.events()[0] == event(1, 0)
    assert again.mark() == mark(2)


def test_record__empty_range__still_moves_the_checkpoint(tmp_path: Path):
    journal = Journal(tmp_path / "journal.sqlite")
    journal.record([], mark(50))
    assert journal.mark() == mark(50)


def test_record__fails_halfway__leaves_neither_events_nor_mark(tmp_path: Path):
    journal = Journal(tmp_path / "journal.sqlite")
    broken = Row(2, 0, b"", "0xc", None, {})  # type: ignore[arg-type]
    with pytest.raises(sqlite3.IntegrityError):
        journal.record([event(1), broken], mark(2))
    assert journal.events() == []
    assert journal.mark() is None


def test_rollback__reorg__forgets_later_events_and_steps_in_every_table_that_knows_blocks(tmp_path: Path):
    journal = Journal(tmp_path / "journal.sqlite")
    journal.record([event(1)], mark(1))
    journal.take_step(1, 0, "reported", {"bitmap": b"\1"})
    journal.record([event(2)], mark(2))
    journal.take_step(1, 0, "scored", {"evidence": b"e"})
    journal.set_content(b"d" * 32, 0, 7, "fetched", 1, "", 0.0)
    journal.rollback(1)
    assert [row.block for row in journal.events()] == [1]
    assert journal.step(1, 0, "reported") == {"bitmap": b"\1"}
    assert journal.step(1, 0, "scored") is None
    assert journal.content_state(b"d" * 32, 0, 7) is not None
    assert journal.mark() == mark(1)


def test_journal__written_by_a_newer_release__is_refused_in_one_line(tmp_path: Path):
    path = tmp_path / "journal.sqlite"
    Journal(path).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 999")
    with pytest.raises(JournalError, match="newer release"):
        Journal(path)


def test_journal__file__is_readable_by_its_owner_only(tmp_path: Path):
    Journal(tmp_path / "journal.sqlite")
    assert (tmp_path / "journal.sqlite").stat().st_mode & 0o077 == 0


def test_rollback__below_everything__starts_from_nothing(tmp_path: Path):
    journal = Journal(tmp_path / "journal.sqlite")
    journal.record([event(5)], mark(5))
    journal.rollback(4)
    assert (journal.events(), journal.mark()) == ([], None)


def test_intents__key_under_way_or_nonce_taken__is_refused(tmp_path: Path):
    intents = Intents(Journal(tmp_path / "journal.sqlite"))
    intents.add(1, "0xa", "commit/1", 7, b"")
    with pytest.raises(JournalError, match="in the journal already"):
        intents.add(1, "0xa", "commit/1", 8, b"")
    with pytest.raises(JournalError, match="in the journal already"):
        intents.add(1, "0xa", "commit/2", 7, b"")
    intents.add(1, "0xb", "commit/1", 7, b"")
    assert [row.key for row in intents.unsettled(1, "0xa")] == ["commit/1"]


@pytest.mark.parametrize(("outcome", "again"), [("mined", False), ("reverted", True), ("displaced", True)])
def test_intents__settled__may_be_prepared_again_only_if_it_had_no_effect(tmp_path: Path, outcome: str, again: bool):
    intents = Intents(Journal(tmp_path / "journal.sqlite"))
    intents.add(1, "0xa", "commit/1", 7, b"body")
    intents.settle(1, "0xa", "commit/1", outcome, b"h" * 32, 5)
    assert intents.next_nonce(1, "0xa") == 8
    if again:
        intents.add(1, "0xa", "commit/1", 8, b"")
    else:
        with pytest.raises(JournalError):
            intents.add(1, "0xa", "commit/1", 8, b"")
    assert intents.newest(1, "0xa", "commit/1").nonce == (8 if again else 7)


def test_content__one_digest_claimed_with_two_sizes__is_tracked_apart(tmp_path: Path):
    journal = Journal(tmp_path / "journal.sqlite")
    journal.set_content(b"d" * 32, 0, 7, "fetched", 1, "", 0.0)
    journal.set_content(b"d" * 32, 0, 8, "failed", 3, "holds 7 bytes", 9.0)
    assert journal.content_state(b"d" * 32, 0, 7)[0] == "fetched"
    assert journal.content_state(b"d" * 32, 0, 8)[0] == "failed"
    assert journal.content_state(b"d" * 32, 1, 7) is None


def test_rollback__transactions_settled_above__are_under_way_again_and_later_tries_are_gone(tmp_path: Path):
    journal = Journal(tmp_path / "journal.sqlite")
    intents = Intents(journal)
    for key, nonce, outcome, block in (("a", 1, "mined", 5), ("b", 2, "reverted", 9), ("c", 3, "mined", 10)):
        intents.add(1, "0xa", key, nonce, b"")
        intents.settle(1, "0xa", key, outcome, b"h" * 32, block)
    intents.add(1, "0xa", "b", 4, b"second try")
    journal.rollback(6)
    assert [(row.key, row.nonce) for row in intents.unsettled(1, "0xa")] == [("b", 2), ("c", 3)]
    assert intents.newest(1, "0xa", "a").outcome == "mined"


def test_bind__another_dao__is_refused_in_one_line(tmp_path: Path):
    journal = Journal(tmp_path / "journal.sqlite")
    journal.bind(1, "0xAB")
    journal.bind(1, "0xab")
    with pytest.raises(JournalError, match="home of its own"):
        journal.bind(2, "0xab")


# One rollback over all tables


def tables(journal: Journal) -> dict[str, set[str]]:
    """Every table of the schema with its columns."""
    names = [name for (name,) in journal.query("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return {name: {row[1] for row in journal.query(f"PRAGMA table_info({name})")} for name in names}


def test_rollback__every_table_of_the_schema__is_accounted_for(tmp_path: Path):
    found = tables(Journal(tmp_path / "journal.sqlite"))
    assert found.keys() == ROLLED_BACK.keys() | REOPENED.keys() | KEPT.keys(), (
        "a table is missing: say in journal/database.py what a rollback does with it"
    )
    assert len(ROLLED_BACK) + len(REOPENED) + len(KEPT) == len(found)
    for table, column in {**ROLLED_BACK, **REOPENED}.items():
        assert column in found[table]


def test_rollback__rows_in_every_table__leaves_nothing_above_and_everything_below(tmp_path: Path):
    journal = Journal(tmp_path / "journal.sqlite")
    intents = Intents(journal)
    journal.bind(1, "0xab")
    journal.set_endpoint_range("a", 7, 4)
    journal.set_content(b"d" * 32, 0, 7, "fetched", 1, "", 0.0)
    for block in range(1, 9):
        journal.record([event(block)], mark(block))
        journal.take_step(block, 0, "reported", {})
        intents.add(1, "0xa", f"k{block}", block, b"")
        intents.settle(1, "0xa", f"k{block}", "mined", b"h" * 32, block)
    kept = {table: journal.query(f"SELECT * FROM {table}") for table in KEPT}
    assert all(kept.values()), "a row in each"
    journal.rollback(5)
    for table, column in {**ROLLED_BACK, **REOPENED}.items():
        blocks = [row[0] for row in journal.query(f"SELECT {column} FROM {table} WHERE {column} IS NOT NULL")]
        assert sorted(blocks) == [1, 2, 3, 4, 5]
    assert {table: journal.query(f"SELECT * FROM {table}") for table in KEPT} == kept
    assert [row.key for row in intents.unsettled(1, "0xa")] == ["k6", "k7", "k8"]


def test_journal__written_by_the_first_release__is_brought_up_to_date(tmp_path: Path):
    path = tmp_path / "journal.sqlite"
    first = resources.files("validator.journal").joinpath("migrations", "0001_first.sql").read_text()
    with sqlite3.connect(path) as db:
        db.executescript(f"{first}\nPRAGMA user_version = 1;")
        db.execute("INSERT INTO checkpoints VALUES (5, x'01', 50)")
    journal = Journal(path)
    assert journal.mark() == Mark(5, b"\x01", 50)
    assert journal.endpoint_range("a") is None
