from __future__ import annotations

import stat
from pathlib import Path

import pytest

from validator.actions.sent import Sent, SentError, keyed, note, read, repeated

CONTRACT = "0x" + "ab" * 20
SECRET = b"s" * 32


def sent(number: int, *records: bytes, chain_id: int = 1) -> Sent:
    return Sent(chain_id, CONTRACT, number, "cid", keyed(records, SECRET))


def test_note__several__read_back_for_their_dao_alone_and_private(tmp_path: Path) -> None:
    path = tmp_path / "contributions.jsonl"
    for one in (sent(3, b"a"), sent(7, b"b"), sent(4, b"c", chain_id=2)):
        note(path, one)

    assert set(read(path, 1, CONTRACT.upper().replace("0X", "0x"))) == {3, 7}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_read__no_file_or_a_last_line_cut_short__what_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "contributions.jsonl"
    assert read(path, 1, CONTRACT) == {}
    note(path, sent(3, b"a"))
    with path.open("ab") as file:
        file.write(b'{"chain_id":1,"con')

    assert set(read(path, 1, CONTRACT)) == {3}


def test_read__not_ours__refused_by_line(tmp_path: Path) -> None:
    path = tmp_path / "contributions.jsonl"
    path.write_bytes(b'{"id":1}\n')
    with pytest.raises(SentError, match="line 1"):
        read(path, 1, CONTRACT)


def test_note__cannot_be_written__says_that_the_contribution_is_sent(tmp_path: Path) -> None:
    with pytest.raises(SentError, match="contribution 3 is sent"):
        note(tmp_path / "missing" / "file", sent(3, b"a"))


def test_repeated__records_in_earlier_ones__counted_where_they_came_first() -> None:
    known = {one.id: one for one in (sent(1, b"a", b"b"), sent(2, b"b", b"c"), sent(5, b"a", b"b", b"c", b"d"))}

    assert repeated(known, 5) == {1: 2, 2: 1}
    assert repeated(known, 1) == {}
    assert repeated(known, 9) == {}


def test_keyed__another_home__shares_nothing() -> None:
    assert not set(keyed([b"a"], SECRET)) & set(keyed([b"a"], b"t" * 32))
