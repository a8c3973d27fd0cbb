from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from validator.journal import ProtectionError, SigningProtection
from validator.journal.protection import Slot

SLOT = Slot(1, "0xAb", "0xCd", 7, 0)
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
        protection.register(Slot(1, "0xab", "0xcD", 7, 0), SECOND)


@pytest.mark.parametrize(
    "other", [Slot(2, "0xab", "0xcd", 7, 0), Slot(1, "0xab", "0xcd", 7, 1), Slot(1, "0xab", "0xcd", 8, 0)]
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
        f"SigningProtection(Path({str(path)!r}), create=True).register(Slot(1, '0xab', '0xcd', 7, 0), b'1' * 32);"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert SigningProtection(path).signed(SLOT) == FIRST


def test_merge__history_of_another_machine__blocks_what_it_signed(tmp_path: Path, path: Path):
    old = SigningProtection(tmp_path / "old.sqlite", create=True)
    old.register(SLOT, FIRST)
    new = SigningProtection(path, create=True)
    assert new.merge(old.export()) == 1
    with pytest.raises(ProtectionError):
        new.register(SLOT, SECOND)


def test_merge__conflicting_history__is_refused_whole(tmp_path: Path, path: Path):
    old = SigningProtection(tmp_path / "old.sqlite", create=True)
    old.register(Slot(1, "0xab", "0xcd", 1, 0), FIRST)
    old.register(SLOT, SECOND)
    new = SigningProtection(path, create=True)
    new.register(SLOT, FIRST)
    with pytest.raises(ProtectionError):
        new.merge(old.export())
    assert new.signed(Slot(1, "0xab", "0xcd", 1, 0)) is None


@pytest.mark.parametrize(
    "text", ["", "[]", '{"format": "other"}', '{"format": "poc-signing-protection/1", "signatures": [{}]}']
)
def test_merge__not_a_history__is_refused_in_one_line(path: Path, text: str):
    with pytest.raises(ProtectionError, match="not a signing history"):
        SigningProtection(path, create=True).merge(text)
