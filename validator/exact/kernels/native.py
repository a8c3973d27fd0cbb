"""Kernels whose threads never meet Python: pieces of a loop, taken from counters until none is left.

A call of `split` (parallel.py) costs tens of microseconds, most of them while threads wait for the interpreter's lock.
The kernels here are C functions of one pointer, to a *job*: addresses, sizes and counters, all int64. Pieces are cut
into a range for each thread, by its number: what one thread wrote in one loop, it mostly reads in the next, from its
own caches, which matters where processors do not share one (a line that another complex holds comes as slowly as from
memory). Who has finished its own range counts its way through the others', so a slow thread holds nobody up, nor does
one that the runtime does not grant; no result depends on it.

A thread that takes denormal numbers for zero (it keeps what its maker had when it began) leaves all pieces to the
others: the caller, whom exact() has asked, is never one of them. What was done is counted, so that nothing which no
thread wrote is ever read.
"""

from __future__ import annotations

import ctypes
import functools
from array import array
from collections.abc import Callable, Sequence
from types import FunctionType

import numba
import numpy as np
from llvmlite import ir
from numba import carray  # type: ignore[attr-defined]
from numba.core import types

from validator.exact.kernels.build import (
    IEEE,
    Array,
    Code,
    Kernel,
    Scalar,
    bits,
    from_bits,
    inline,
    kept_on_disk,
    primitive,
)
from validator.exact.kernels.parallel import numbering, team

_DONE, _PIECES, RANGES, _WHO, _SMALL, _DOUBLED = range(6)
"""What every job begins with: pieces done, pieces in all, the ranges they are cut into, the address of the function
that numbers threads, and the bits of a denormal number and of its double."""
FIRST = 6
"""The place of the first entry that is the work's own."""
SIZE = FIRST + 11
"""Entries of a job that work sees."""
_COUNTERS, _APART = 32, 16
"""Where the counter of the first range is, and how far from it the next: not in one line of a cache, nor in a pair."""
_DENORMAL = 1e-310

_pointer: Callable[[Code], Code] = types.CPointer
_Work = Callable[[Array, Scalar], None]
_CALL = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


@primitive
def _raise(typing: Code, job: Code, place: Code, by: Code) -> Code:
    """Add to an entry of a job, atomically; the value before."""

    def code(context: Code, builder: Code, signature: Code, args: Code) -> Code:
        return builder.atomic_rmw("add", builder.gep(args[0], [args[1]]), args[2], "seq_cst")

    return types.int64(_pointer(types.int64), types.int64, types.int64), code


@primitive
def _number(typing: Code, function: Code) -> Code:
    """What the C function int(void) at an address returns."""

    def code(context: Code, builder: Code, signature: Code, args: Code) -> Code:
        kind = ir.PointerType(ir.FunctionType(ir.IntType(32), []))
        return builder.sext(builder.call(builder.inttoptr(args[0], kind), []), ir.IntType(64))

    return types.int64(types.int64), code


def _pointer_to(element: Code) -> Callable[..., Code]:
    def pointer(typing: Code, address: Code) -> Code:
        def code(context: Code, builder: Code, signature: Code, args: Code) -> Code:
            return builder.inttoptr(args[0], context.get_value_type(_pointer(element)))

        return _pointer(element)(types.int64), code

    return pointer


singles, doubles, wholes = (primitive(_pointer_to(kind)) for kind in (types.float32, types.float64, types.int64))
"""The address in an int64 as a pointer, to float32, float64 and integers of 64 bits."""


def _run(address: Scalar) -> None:
    """The C function of a job's address, where the global `_work` is the work of a piece."""
    job = carray(address, (SIZE,))
    if bits(from_bits(job[_SMALL]) * 2.0) != job[_DOUBLED]:
        return
    pieces, ranges, mine, done = job[_PIECES], job[RANGES], np.int64(0), np.int64(0)
    if job[_WHO] != 0:
        mine = _number(job[_WHO])
    for turn in range(ranges):
        which = (mine + turn) % ranges
        first, last = pieces * which // ranges, pieces * (which + 1) // ranges
        counter = _COUNTERS + _APART * which
        piece = first + _raise(address, counter, 1)
        while piece < last:
            _work(job, piece)  # type: ignore[name-defined]  # noqa: F821 - given by `_runner`
            done += 1
            piece = first + _raise(address, counter, 1)
    _raise(address, _DONE, done)


def _runner(work: _Work) -> Callable[[Scalar], None]:
    """`_run` for one work, by its name: numba finds its machine code on disk by name and closure, and a closure over
    `work`, whose own name now means a `Native`, would be another one in every process.
    """
    run = FunctionType(_run.__code__, {**globals(), "_work": inline(work)})
    run.__module__, run.__qualname__ = work.__module__, f"{work.__qualname__}.run"
    return run


class Native(Kernel):
    """`work(job, piece)` for every piece of a job, as a C function of the job's address."""

    def __init__(self, work: _Work) -> None:
        super().__init__(work)

    @functools.cached_property
    def compiled(self) -> Code:
        """numba's CFunc."""
        return kept_on_disk(self._compile)

    def _compile(self, cache: bool) -> Code:
        return numba.cfunc(types.void(_pointer(types.int64)), cache=cache, **IEEE)(_runner(self._function))

    @functools.cached_property
    def entrance(self) -> Callable[[int], None]:
        """The C function, for this thread alone; it lets go of the interpreter's lock."""
        return _CALL(self.compiled.address)

    def assembly(self) -> list[str]:
        """The machine code, for tests; compiled for them, because code from the disk has no assembly to read."""
        return [self._compile(cache=False)._library.get_asm_str()]

    def over(self, entries: Sequence[int], pieces: int, threads: int) -> array[int]:
        """Run the work's own `entries` in `pieces` on at most this many threads; the job as it is afterwards."""
        ranges = min(threads, pieces)
        start = team() if ranges > 1 else None
        if start is None:
            job = _job(entries, pieces, 1, 0)
            self.entrance(job.buffer_info()[0])
        else:
            job = _job(entries, pieces, ranges, numbering())
            start(self.entrance, job.buffer_info()[0], ranges, 0)
        if job[_DONE] != pieces:
            raise RuntimeError(f"{self._function.__qualname__}: {job[_DONE]} of {pieces} pieces were done")
        return job


def _job(entries: Sequence[int], pieces: int, ranges: int, who: int) -> array[int]:
    head = (0, pieces, ranges, who, *_denormals(), *entries)
    if len(head) != SIZE:
        raise ValueError(f"a job has {SIZE - FIRST} entries of its own, not {len(entries)}")
    return array("q", head + (0,) * (_COUNTERS - SIZE + _APART * ranges))


@functools.cache
def _denormals() -> tuple[int, int]:
    """The bits of a denormal, and of its double: twice as many. Arithmetic, which may flush, is not asked."""
    small = int(np.array([_DENORMAL]).view(np.int64)[0])
    return small, 2 * small


def native(work: _Work) -> Native:
    """Mark the work of one piece. It may raise nothing."""
    return Native(work)
