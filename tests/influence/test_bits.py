"""The same scores in other processes, with other thread counts and chunk sizes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).with_name("digest_program.py")


def lines(threads: int, chunk: int) -> list[str]:
    command = [sys.executable, str(PROGRAM), str(threads), str(chunk)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_scores__threads_and_chunks__one_set_of_bits() -> None:
    first = lines(threads=1, chunk=64)
    assert [line.split()[0] for line in first] == ["response", "classical", "mirrored"]
    assert lines(threads=2, chunk=2) == first
