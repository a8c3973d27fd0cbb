"""Frames between node and worker: a length in little endian, then that many bytes. Nothing is read beyond a limit."""

from __future__ import annotations

import os
from collections.abc import Callable

Read = Callable[[memoryview], int]
"""Fills the start of a buffer; returns how much, 0 at the end."""

_PIECE = 1 << 20


def read_frame(read: Read, prefix: int, limit: int) -> bytearray:
    """One frame of at most `limit` bytes after a length of `prefix` bytes.

    Memory is taken at once, so `limit` has to be what the reader can afford. Raises EOFError when cut, ValueError
    beyond the limit.
    """
    length = int.from_bytes(_exactly(read, prefix), "little")
    if length > limit:
        raise ValueError(f"a frame of {length} bytes: at most {limit} are allowed")
    return _exactly(read, length)


def write_frame(write: Callable[[bytes | memoryview], int], prefix: int, body: bytes | bytearray | memoryview) -> None:
    """One frame with a length of `prefix` bytes; `write` may take less than it is given."""
    for part in (len(body).to_bytes(prefix, "little"), body):
        view = memoryview(part)
        while view:
            view = view[write(view) :]


def reader(descriptor: int) -> Read:
    """Reads from a file descriptor."""
    return lambda buffer: os.readv(descriptor, [buffer])


def writer(descriptor: int) -> Callable[[bytes | memoryview], int]:
    """Writes to a file descriptor."""
    return lambda body: os.write(descriptor, body)


def _exactly(read: Read, size: int) -> bytearray:
    body = bytearray(size)
    view, at = memoryview(body), 0
    while at < size:
        more = read(view[at : at + _PIECE])
        if not more:
            raise EOFError(f"cut after {at} of {size} bytes")
        at += more
    view.release()
    return body
