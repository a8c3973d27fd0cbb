"""Buffers for whole files, in large pages where the kernel has them.

A fresh page costs a fault and is filled with zeros when it is first written. In pages of 4 KiB that takes as long, for
a file of 64 MiB, as to hash it, and twice as long as to decrypt it. Where the allocator hands memory out again, to fill
it with zeros once more would be a fifth of the time that decrypting 16 MiB takes.
"""

from __future__ import annotations

import ctypes
import io
import mmap

LARGE = 4 << 20
"""Bytes. A buffer of this size holds a large page, wherever it begins."""


_bytes_of_size = ctypes.pythonapi.PyBytes_FromStringAndSize
_bytes_of_size.argtypes, _bytes_of_size.restype = (ctypes.c_char_p, ctypes.c_ssize_t), ctypes.py_object


def buffer_of(size: int) -> io.BytesIO:
    """A buffer of `size` bytes, at its start. A page takes memory only once it is written.

    What it holds before that is whatever the process left there: hand out only what was written.
    """
    # Given no string, CPython's C API makes a bytes object whose content is for the caller to fill.
    file = io.BytesIO(_bytes_of_size(None, size))
    if size >= LARGE and hasattr(mmap, "MADV_HUGEPAGE"):
        with file.getbuffer() as view:
            _advise(ctypes.addressof(ctypes.c_char.from_buffer(view)), size)
    return file


def _advise(address: int, size: int) -> None:
    """A hint about the whole pages within. What the kernel makes of it changes no byte, so its answer is not asked."""
    start = -(-address // mmap.PAGESIZE) * mmap.PAGESIZE
    length = (address + size - start) // mmap.PAGESIZE * mmap.PAGESIZE
    ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), mmap.MADV_HUGEPAGE)
