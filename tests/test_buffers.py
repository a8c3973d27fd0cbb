"""The buffers that files are read and opened into."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from validator.buffers import LARGE, buffer_of


@pytest.mark.parametrize("size", [0, 1, 4095, LARGE - 1, LARGE, LARGE + 12_345])
def test_buffer_of__any_size__written_in_place_once(size: int) -> None:
    file, content = buffer_of(size), os.urandom(size)
    assert file.tell() == 0
    with file.getbuffer() as room:
        assert len(room) == size
        room[:] = content
    assert file.getvalue() == content


def test_buffer_of__one_byte__is_none_of_those_that_the_interpreter_shares() -> None:
    for value in range(256):
        with buffer_of(1).getbuffer() as room:
            room[0] = value ^ 0xFF
    assert [bytes([value])[0] for value in range(256)] == list(range(256))


def test_buffer_of__what_is_not_written__takes_no_memory() -> None:
    before = _resident()
    file = buffer_of(512 << 20)
    file.write(b"a" * (4 << 20))
    assert _resident() - before < 64 << 20
    file.truncate()
    assert len(file.getvalue()) == 4 << 20


def _resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
