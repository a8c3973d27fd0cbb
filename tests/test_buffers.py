"""The buffers that files are read and opened into."""

from __future__ import annotations

from pathlib import Path

import pytest

from validator.buffers import LARGE, buffer_of


@pytest.mark.parametrize("size", [0, 1, 4095, LARGE - 1, LARGE, LARGE + 12_345])
def test_buffer_of__any_size__zeros_to_be_written_in_place(size: int) -> None:
    file = buffer_of(size)
    assert file.getvalue() == bytes(size)
    assert file.write(b"abc") == 3
    assert file.getvalue() == b"abc" + bytes(size)[3:]


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
