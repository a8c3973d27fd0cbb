from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from validator.journal import ProtectionError, SigningProtection
from validator.journal.interchange import INTERCHANGE_LIMIT, UNKNOWN, write
from validator.journal.protection import Slot

CONTRACT, OPERATOR = "0x" + "Ab" * 20, "0x" + "Cd" * 20
SLOT = Slot(1, CONTRACT, OPERATOR, 7, 0)
FIRST, SECOND = b"1" * 32, b"2" * 32


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "protection.sqlite"


def test_register__same_content__may_be_signed_again(path: Path):
    protection = SigningProtection(path, create=True)
    protection.register(SLOT, FIRST)
    protection.register(SLOT, FIRST)
    assert protection.signed(SLOT) == FIRST


def test_register__other_content__is_refused_and_changes_nothing(path: Path):
    protection = SigningProtection(path, create=True)
    protection.register(SLOT, FIRST)
    with pytest.raises(ProtectionError, match="second answer for round 7, attempt 0"):
        protection.register(SLOT, SECOND)
    assert protection.signed(SLOT) == FIRST


def test_register__other_case_of_the_same_address__is_the_same_slot(path: Path):
    protection = SigningProtection(path, create=True)
    protection.register(SLOT, FIRST)
    with pytest.raises(ProtectionError):
        protection.register(Slot(1, CONTRACT.lower(), OPERATOR.upper().replace("X", "x"), 7, 0), SECOND)


@pytest.mark.parametrize(
    "other", [Slot(2, CONTRACT, OPERATOR, 7, 0), Slot(1, CONTRACT, OPERATOR, 7, 1), Slot(1, CONTRACT, OPERATOR, 8, 0)]
)
def test_register__another_slot__is_free(path: Path, other: Slot):
    protection = SigningProtection(path, create=True)
    protection.register(SLOT, FIRST)
    protection.register(other, SECOND)
    assert protection.signed(other) == SECOND


def test_open__missing_file__is_refused_and_not_created(path: Path):
    with pytest.raises(ProtectionError, match="is missing"):
        SigningProtection(path)
    assert not path.exists()


def test_create__existing_file__is_never_overwritten(path: Path):
    SigningProtection(path, create=True).close()
    with pytest.raises(ProtectionError, match="never overwritten"):
        SigningProtection(path, create=True)


def test_open__held_by_another_process__is_refused(path: Path):
    held = SigningProtection(path, create=True)
    held.register(SLOT, FIRST)
    code = (
        "from pathlib import Path; from validator.journal import SigningProtection;"
        f"SigningProtection(Path({str(path)!r}))"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "another validator running" in other.stderr


def test_register__process_killed_right_after__is_on_the_disk(path: Path):
    code = (
        "import os, signal; from pathlib import Path; from validator.journal import SigningProtection;"
        "from validator.journal.protection import Slot;"
        f"slot = Slot(1, {CONTRACT!r}, {OPERATOR!r}, 7, 0);"
        f"SigningProtection(Path({str(path)!r}), create=True).register(slot, b'1' * 32);"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert SigningProtection(path).signed(SLOT) == FIRST


def test_merge__history_of_another_machine__blocks_what_it_signed(tmp_path: Path, path: Path):
    old = SigningProtection(tmp_path / "old.sqlite", create=True)
    old.register(SLOT, FIRST)
    new = SigningProtection(path, create=True)
    assert new.merge(old.export().encode()) == 1
    with pytest.raises(ProtectionError):
        new.register(SLOT, SECOND)


def test_merge__conflicting_history__is_refused_whole(tmp_path: Path, path: Path):
    old = SigningProtection(tmp_path / "old.sqlite", create=True)
    old.register(Slot(1, CONTRACT, OPERATOR, 1, 0), FIRST)
    old.register(SLOT, SECOND)
    new = SigningProtection(path, create=True)
    new.register(SLOT, FIRST)
    with pytest.raises(ProtectionError):
        new.merge(old.export().encode())
    assert new.signed(Slot(1, CONTRACT, OPERATOR, 1, 0)) is None


@pytest.mark.parametrize(
    "text", ["", "[]", '{"format": "other"}', '{"format": "poc-signing-protection/1", "signatures": [{}]}']
)
def test_merge__not_a_history__is_refused_in_one_line(path: Path, text: str):
    with pytest.raises(ProtectionError, match="not a signing history"):
        SigningProtection(path, create=True).merge(text.encode())


def test_merge__larger_than_any_history__is_refused_unread(path: Path):
    with pytest.raises(ProtectionError, match="more than"):
        SigningProtection(path, create=True).merge(b" " * (INTERCHANGE_LIMIT + 1))


# What is not known


def test_block__then_register__nothing_is_signed_and_the_reader_is_told_what_to_wait_for(path: Path):
    protection = SigningProtection(path, create=True)
    assert protection.block(SLOT)
    with pytest.raises(
        ProtectionError, match=r"round 7, attempt 0: it was open when .* the next attempt or round will be"
    ):
        protection.register(SLOT, FIRST)
    assert protection.signed(SLOT) == UNKNOWN


def test_block__content_is_known__changes_nothing(path: Path):
    protection = SigningProtection(path, create=True)
    protection.register(SLOT, FIRST)
    assert not protection.block(SLOT)
    protection.register(SLOT, FIRST)


def test_learn__what_was_signed_is_proven__that_and_nothing_else_is_allowed_again(path: Path):
    protection = SigningProtection(path, create=True)
    protection.block(SLOT)
    protection.learn(SLOT, FIRST)
    protection.register(SLOT, FIRST)
    for change in (protection.register, protection.learn):
        with pytest.raises(ProtectionError, match="second answer"):
            change(SLOT, SECOND)


def test_register__digest_that_stands_for_unknown__is_refused(path: Path):
    protection = SigningProtection(path, create=True)
    with pytest.raises(ProtectionError, match="internal error"):
        protection.register(SLOT, UNKNOWN)
    assert protection.signed(SLOT) is None


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from([FIRST, SECOND, UNKNOWN])), max_size=6), st.data())
def test_merge__any_two_histories__nothing_becomes_allowed(entries: list[tuple[int, bytes]], data: st.DataObject):
    def slot(attempt: int) -> Slot:
        return Slot(1, CONTRACT, OPERATOR, 7, attempt)

    def allowed(protection: SigningProtection) -> set[tuple[int, bytes]]:
        """What could be signed: anything where nothing is known, the known content, nothing where it is unknown."""
        known = {attempt: protection.signed(slot(attempt)) for attempt in range(3)}
        return {(a, d) for a in range(3) for d in (FIRST, SECOND) if known[a] is None or known[a] == d}

    with tempfile.TemporaryDirectory() as folder:
        ours = SigningProtection(Path(folder) / "ours", create=True)
        for attempt in range(3):
            before = data.draw(st.sampled_from([None, FIRST, SECOND, UNKNOWN]))
            if before == UNKNOWN:
                ours.block(slot(attempt))
            elif before is not None:
                ours.register(slot(attempt), before)
        could = allowed(ours)
        try:
            ours.merge(write((slot(attempt), digest) for attempt, digest in entries).encode())
        except ProtectionError:
            assert allowed(ours) == could  # refused whole
        else:
            assert allowed(ours) <= could
            assert allowed(ours) <= {(a, d) for a, d in could if all(e == d for i, e in entries if i == a)}
        ours.close()
