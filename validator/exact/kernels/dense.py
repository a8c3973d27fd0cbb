"""Rows of float32 that lie one behind the other in memory: their sums and their snapping, without detours.

Most sums and most operands of products are of this form, and for those of a million values a call's own cost counts.
Everything else is for grids.py. A sum adds values and looks for the largest magnitude at once, on the grid of what is
known: the grid depends on the exponent of the largest magnitude alone, which seldom grows after the first blocks and
seldom differs from row to row. Where it does, what was added is added again on the right grid. So values come from
memory once.
"""

from __future__ import annotations

import functools
import math
from ctypes import addressof, c_float, c_int64

import numpy as np
import torch
from numba import carray  # type: ignore[attr-defined]
from torch import Tensor

from validator.exact.kernels.build import Array, Scalar, bits, from_bits, inline
from validator.exact.kernels.lanes import STEP, count_and_look, fits
from validator.exact.kernels.native import FIRST, SIZE, doubles, native, singles, wholes
from validator.exact.kernels.units import MOST, largest, magic_bits, magnitude, unit_of, wide_bits

_BLOCK = 4096
"""Values that are added while they are in the first-level cache."""
_SHORT = 512
"""Values of a row from which its grid is guessed."""
_RESTARTS = 4
"""Times that a sum begins again because a larger exponent came; then the rest is looked at before more is added."""
PIECE = 1 << 15
"""Values of a piece at least: some microseconds of work."""
_PIECES = 8
"""Pieces of one sum for each thread, at most."""
_WORTH = 1 << 16
"""Values for each thread, below which waking it costs more than it saves."""
_X, _OUT, _COUNT, _LENGTH, _STEP, _BITS, _BY, _INFINITE = range(FIRST, FIRST + 8)
"""Addresses of input and output; rows, and values of a row; rows or values of a piece; bits of the grid; the bits of a
divisor; and whether a value was too large."""
_TOPS, _SUMS, _HINT = range(FIRST + 8, SIZE)
"""For one sum in pieces: where each leaves the magnitude it has found and its units, and the largest one so far."""


@inline
def _add_and_look(x: Scalar, length: Scalar, magic: Scalar, grid_bits: Scalar, ahead: Scalar) -> tuple[Scalar, Scalar]:
    """The units of the values at the address `x` (see units.count_units), at most a block, and the largest magnitude of
    as many at `ahead`, as the bits of a float64.
    """
    done, total, top = np.int64(0), np.int64(0), np.int32(0)
    if length >= STEP and fits(magic, grid_bits):
        done = length // STEP * STEP
        total, top = count_and_look(x, done, magic, grid_bits, ahead)
    number = from_bits(magic)
    rest, behind = _values(x + 4 * done, length - done), _values(ahead + 4 * done, length - done)
    for j in range(rest.shape[0]):
        total += bits(np.float64(rest[j]) + number) - magic
        top = max(top, magnitude(behind[j]))
    return total, wide_bits(top)


@inline
def _values(address: Scalar, length: Scalar) -> Array:
    return carray(singles(address), (length,))


@inline
def _again(x: Scalar, length: Scalar, magic: Scalar, grid_bits: Scalar) -> Scalar:
    """The units of any number of values."""
    total = np.int64(0)
    for start in range(0, length, _BLOCK):
        place = x + 4 * start
        total += _add_and_look(place, min(_BLOCK, length - start), magic, grid_bits, place)[0]
    return total


@inline
def _running(x: Scalar, length: Scalar, known: Scalar, guess: Scalar, grid_bits: Scalar) -> tuple[Scalar, Scalar]:
    """The largest of `known` and the magnitudes of the values at the address `x`, and their sum on the grid of that, in
    units. They are tried on the grid of the magic number `guess`, which may be any.
    """
    top, magic, total = known, guess, np.int64(0)
    done, turns = np.int64(0), 0
    while done < length:
        stop = min(done + _BLOCK, length)
        added, here = _add_and_look(x + 4 * done, stop - done, magic, grid_bits, x + 4 * done)
        top = max(top, here)
        if magic_bits(top, grid_bits) > magic:
            if turns == _RESTARTS and stop < length:
                top = max(top, largest(_values(x + 4 * stop, length - stop)))
            magic = magic_bits(top, grid_bits)
            total, added = np.int64(0), _again(x, stop, magic, grid_bits)
            turns += 1
        total += added
        done = stop
    if magic_bits(top, grid_bits) < magic:
        total = _again(x, length, magic_bits(top, grid_bits), grid_bits)
    return top, total


@native
def _sum_rows(job: Array, piece: Scalar) -> None:
    """A row is tried on the grid that most rows had until now. Of short ones, for which a second try costs
    too much, the next is looked at while one is added.
    """
    count, length, grid_bits, by = job[_COUNT], job[_LENGTH], job[_BITS], from_bits(job[_BY])
    out = carray(singles(job[_OUT]), (count,))
    first, last = piece * job[_STEP], min((piece + 1) * job[_STEP], count)
    top = ahead = largest(_values(job[_X] + 4 * first * length, min(length, np.int64(_SHORT))))
    guess, wrong = magic_bits(top, grid_bits), 0
    finite: Scalar = True
    for row in range(first, last):
        x = job[_X] + 4 * row * length
        if length < _SHORT:
            top = ahead
            following = x + 4 * length if row + 1 < last else x
            total, ahead = _add_and_look(x, length, magic_bits(top, grid_bits), grid_bits, following)
        else:
            top, total = _running(x, length, np.int64(0), guess, grid_bits)
            wrong = wrong + 1 if magic_bits(top, grid_bits) != guess else 0
            if wrong > 1:
                guess = magic_bits(top, grid_bits)
        finite &= top < MOST
        out[row] = np.float32(np.float64(total) * unit_of(magic_bits(top, grid_bits)) / by) + np.float32(0.0)
    if not finite:
        job[_INFINITE] = 1


@native
def _sum_piece(job: Array, piece: Scalar) -> None:
    """What is known of the largest magnitude is handed on from piece to piece, so that few have to be added again."""
    tops, sums = carray(wholes(job[_TOPS]), (job[_COUNT],)), carray(wholes(job[_SUMS]), (job[_COUNT],))
    known, grid_bits = job[_HINT], job[_BITS]
    if tops[piece] < 0 or magic_bits(tops[piece], grid_bits) != magic_bits(known, grid_bits):
        first, last = piece * job[_STEP], min((piece + 1) * job[_STEP], job[_LENGTH])
        x, length = job[_X] + 4 * first, last - first
        known = max(known, largest(_values(x, min(np.int64(STEP), length))))
        tops[piece], sums[piece] = _running(x, length, known, magic_bits(known, grid_bits), grid_bits)
        if tops[piece] > job[_HINT]:
            job[_HINT] = tops[piece]


@native
def _snap_rows(job: Array, piece: Scalar) -> None:
    count, length, grid_bits = job[_COUNT], job[_LENGTH], job[_BITS]
    x, out = carray(singles(job[_X]), (count, length)), carray(doubles(job[_OUT]), (count, length))
    for row in range(piece * job[_STEP], min((piece + 1) * job[_STEP], count)):
        values, target = x[row], out[row]
        top = largest(values)
        if not top < MOST:
            job[_INFINITE] = 1
        magic = from_bits(magic_bits(top, grid_bits))
        for j in range(values.shape[0]):
            target[j] = (np.float64(values[j]) + magic) - magic


@native
def _round(job: Array, piece: Scalar) -> None:
    first, last = piece * job[_STEP], min((piece + 1) * job[_STEP], job[_LENGTH])
    values = carray(doubles(job[_X]), (job[_LENGTH],))[first:last]
    target = carray(singles(job[_OUT]), (job[_LENGTH],))[first:last]
    for j in range(target.shape[0]):
        target[j] = np.float32(values[j]) + np.float32(0.0)


def sum_rows(x: Tensor, out: Tensor, count: int, length: int, grid_bits: int, by: int) -> bool:
    """Sums over `by` of `count` rows of `length` float32 into float32; whether all magnitudes were below 2^400."""
    if count == 1 and length > PIECE:
        return _one_sum(x, out, length, grid_bits, by)
    threads = threads_for(count * length)
    step = max(-(-PIECE // length), -(-count // (_PIECES * max(1, threads))))
    job = _sum_rows.over(
        (x.data_ptr(), out.data_ptr(), count, length, step, grid_bits, double_bits(by), 0, 0, 0, 0),
        -(-count // step),
        threads,
    )
    return not job[_INFINITE]


def _one_sum(x: Tensor, out: Tensor, length: int, grid_bits: int, by: int) -> bool:
    """Pieces on one grid: those that were added before the largest magnitude was known are added again."""
    threads = max(1, threads_for(length))
    step = max(PIECE, -(-length // (_PIECES * threads)))
    pieces = -(-length // step)
    room = c_int64 * pieces
    tops, sums = room(*[-1] * pieces), room()
    entries = [x.data_ptr(), 0, pieces, length, step, grid_bits, 0, 0, addressof(tops), addressof(sums), 0]
    _sum_piece.over(entries, pieces, threads)
    top, least = max(tops), min(tops)
    if top >= int(MOST):
        return False
    magic = _magic(top, grid_bits)
    if _magic(least, grid_bits) != magic:
        entries[-1] = top
        _sum_piece.over(entries, pieces, threads)
    # The magic number is 1.5 * 2^52 units; the bias of float64's exponent is 1023.
    unit = math.ldexp(1.0, (magic >> 52) - 1023 - 52)
    # C's conversion makes a sum beyond float32 infinite, as torch has it; zeros are positive after it, not before.
    rounded = c_float(float(sum(sums)) * unit / by).value
    c_float.from_address(out.data_ptr()).value = rounded + 0.0
    return True


def snap_rows(x: int, out: Tensor, count: int, length: int, grid_bits: int) -> bool:
    """scaling.snap of each of `count` rows of `length` float32 at the address `x` into float64; whether all
    magnitudes were below 2^400.
    """
    step = -(-PIECE // length)
    job = _snap_rows.over(
        (x, out.data_ptr(), count, length, step, grid_bits, 0, 0, 0, 0, 0),
        -(-count // step),
        threads_for(count * length),
    )
    return not job[_INFINITE]


def round_all(x: Tensor, out: Tensor) -> None:
    """products.settle of float64 into float32, both contiguous."""
    length = x.numel()
    _round.over(
        (x.data_ptr(), out.data_ptr(), 0, length, PIECE, 0, 0, 0, 0, 0, 0), -(-length // PIECE), threads_for(length)
    )


def threads_for(values: int) -> int:
    """How many threads so many values are worth."""
    return min(torch.get_num_threads(), values // _WORTH)


def _magic(top: int, grid_bits: int) -> int:
    """units.magic_bits."""
    return (max(top, 0x26F << 52) & (0x7FF << 52)) + ((53 - grid_bits) << 52) + (1 << 51)


@functools.cache
def double_bits(value: int) -> int:
    """The 64 bits of a whole number as a float64: how it stands in a job."""
    return int(np.float64(value).view(np.int64))
