"""Large files: sealed from file to file, opened from file to memory, in bounded memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from validator.envelope import (
    BadKey,
    Context,
    generate_keypair,
    open_envelope,
    open_stream,
    public_key,
    seal,
    seal_file,
)

CONTEXT = Context(31_337, "0x" + "c0" * 20, 2, "0x" + "a1" * 20)
DAO = generate_keypair()
MIB = 2**20
PLAIN = 48 * MIB

MEASURE = """
import sys
from pathlib import Path
from validator.envelope import *
def status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(name + ":"))) * 1024
path, secret = Path(sys.argv[1]), bytes.fromhex(sys.argv[2])
context = Context(31_337, "0x" + "c0" * 20, 2, "0x" + "a1" * 20)
open_envelope(seal(b"x", [public_key(secret)], context), secret, context, 1)  # what is loaded at first use
Path("/proc/self/clear_refs").write_text("5")  # sets the high-water mark back
before = status("VmRSS")
seal_file(path, path.with_suffix(".sealed"), [public_key(secret)], context)
sealing = status("VmHWM") - before
size = path.with_suffix(".sealed").stat().st_size
with path.with_suffix(".sealed").open("rb") as file:
    plain = open_stream(file, size, secret, context, size)
print(sealing, status("VmHWM") - before, len(plain))
"""


def test_seal_file_and_open_stream__a_large_file__take_no_more_than_the_plaintext_once(tmp_path: Path) -> None:
    path = tmp_path / "plain"
    with path.open("wb") as file:
        file.truncate(PLAIN)

    words = [sys.executable, "-c", MEASURE, str(path), DAO.secret.hex()]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=Path.cwd())
    sealing, opening, opened = map(int, done.stdout.split())

    assert opened == PLAIN
    assert sealing < 8 * MIB
    assert opening < PLAIN + 8 * MIB


def test_seal_file__opens_to_the_file(tmp_path: Path) -> None:
    plain = os.urandom(200_000)
    (tmp_path / "plain").write_bytes(plain)

    written = seal_file(tmp_path / "plain", tmp_path / "sealed", [DAO.public], CONTEXT)

    sealed = (tmp_path / "sealed").read_bytes()
    assert written == len(sealed)
    assert open_envelope(sealed, DAO.secret, CONTEXT, len(plain)) == plain
    with (tmp_path / "sealed").open("rb", buffering=0) as file:
        assert open_stream(file, written, DAO.secret, CONTEXT, len(plain)) == plain
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plain", "sealed"]


def test_seal_file__target_is_there__is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"x")
    (tmp_path / "sealed").write_bytes(b"mine")

    with pytest.raises(FileExistsError):
        seal_file(tmp_path / "plain", tmp_path / "sealed", [DAO.public], CONTEXT)
    assert (tmp_path / "sealed").read_bytes() == b"mine"


def test_seal_file__key_that_is_none__leaves_no_file_behind(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"x")

    with pytest.raises(BadKey):
        seal_file(tmp_path / "plain", tmp_path / "sealed", [bytes(32)], CONTEXT)
    assert [path.name for path in tmp_path.iterdir()] == ["plain"]


def test_public_key__of_the_secret__is_the_pairs() -> None:
    assert public_key(DAO.secret) == DAO.public
    assert open_envelope(seal(b"y", [DAO.public], CONTEXT), DAO.secret, CONTEXT, 1) == b"y"
