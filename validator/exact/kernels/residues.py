"""Operands packed in one pass: their residues (moduli.py) as the products of tiles.py want them.

Packed, sixteen slices (rows of a left operand, columns of a right one) lie side by side, four elements of each in 32
bits: (groups of slices, moduli, depth / 4, 16, 4). Beyond the depth there are zeros; the slices that are missing in the
last group, and the group that makes the number of a right operand's even, hold anything.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numba import carray  # type: ignore[attr-defined]
from torch import Tensor

from validator.exact.errors import NonFinite
from validator.exact.kernels.build import Array, Scalar, inline
from validator.exact.kernels.dense import threads_for
from validator.exact.kernels.moduli import LINE, SIDE, line_in_order, line_of_fours, low_words, nearest, spread
from validator.exact.kernels.native import FIRST, doubles, native, singles
from validator.exact.kernels.units import MOST, magic_bits, magnitude, unit_of, wide_bits

COUNT = 7
"""Moduli; a constant, so that the loop over them is unrolled."""
GROUP = SIDE
"""Slices side by side; a LINE are the bytes of a group for four elements of the depth and one modulus: what one
instruction multiplies."""
_DEPTH_OF_ROWS, _DEPTH_OF_COLUMNS = 256, 64
"""Elements of the depth that are packed at a time, so that they stay in the first-level cache (16 KiB)."""
_MOST_FOURS = max(_DEPTH_OF_ROWS, _DEPTH_OF_COLUMNS) // 4
_STRIP = 4 * GROUP
"""Slices that are walked side by side when they are columns."""
_FACTOR = 2.0**100
"""The most that one factor multiplies by. What is not zero is at least 2^-149 and needs two of them at most."""
_STEPS = 8
"""What one value costs, as threads_for counts."""
_X, _OUT, _UNITS, _SLICES, _DEPTH, _BITS, _MODULI, _SIGNLESS, _INFINITE = range(FIRST, FIRST + 9)
"""Addresses of input, output and units; how many slices of which depth; bits of the grid; the address of moduli and
their reciprocals; whether residues are to be without a sign; and whether a value was too large."""


@inline
def _unit_for(top: Scalar, job: Array) -> Scalar:
    """The unit for slices up to a magnitude, whose being too large is told to the job."""
    wide = wide_bits(top)
    if not wide < MOST:
        job[_INFINITE] = 1
    return unit_of(magic_bits(wide, job[_BITS]))


@inline
def _factors(unit: Scalar) -> tuple[Scalar, Scalar]:
    """Two powers of two, both normal in float32, whose product divides by the unit of what is not zero."""
    whole = 1.0 / unit
    first = min(whole, _FACTOR)
    return np.float32(first), np.float32(min(whole / first, _FACTOR))


@inline
def _integers(values: Array, first: Scalar, second: Scalar, out: Array) -> None:
    """Values in units, as scaling.snap rounds them: products with a power of two are exact, but where they fall below
    what float32 has normally, which is far below one half and rounded to zero either way.
    """
    for j in range(values.shape[0]):
        out[j] = nearest(values[j] * first * second)


@inline
def _take(job: Array, group: Scalar, begin: Scalar, whole: Scalar, x: Scalar, step: Scalar, gap: Scalar) -> None:
    """Residues of a group for `whole` fours of the depth from `begin` on, which lie at the address `x`, `step` bytes
    apart: the four of each slice in a row, or all first ones, and `gap` bytes further all second ones.
    """
    moduli, fours = carray(singles(job[_MODULI]), (2, COUNT)), -(-job[_DEPTH] // 4)
    words = np.empty((_MOST_FOURS, 2 * LINE), np.int8).ctypes.data
    for four in range(whole):
        low_words(x + four * step, gap, words + four * 2 * LINE)
    for i in range(COUNT):
        modulus = np.int64(moduli[0, i])
        lift = modulus if job[_SIGNLESS] else np.int64(0)
        out = job[_OUT] + ((group * COUNT + i) * fours + begin // 4) * LINE
        for four in range(whole):
            here = x + four * step, gap, words + four * 2 * LINE
            if gap == LINE:
                line_in_order(*here, modulus, moduli[1, i], lift, out + four * LINE)
            else:
                line_of_fours(*here, modulus, moduli[1, i], lift, out + four * LINE)


@native
def _pack_rows(job: Array, piece: Scalar) -> None:
    slices, depth = job[_SLICES], job[_DEPTH]
    x, units = carray(singles(job[_X]), (slices, depth)), carray(doubles(job[_UNITS]), (slices,))
    first, last = piece * GROUP, min((piece + 1) * GROUP, slices)
    factors = np.empty((GROUP, 2), np.float32)
    for row in range(first, last):
        values = x[row]
        top = magnitude(values[0])
        for j in range(values.shape[0]):
            top = max(top, magnitude(values[j]))
        units[row] = _unit_for(top, job)
        factors[row - first] = _factors(units[row])
    line, packed = np.empty(_DEPTH_OF_ROWS, np.float32), np.zeros((_DEPTH_OF_ROWS // 4, GROUP, 4), np.float32)
    for begin in range(0, depth, _DEPTH_OF_ROWS):
        here = min(_DEPTH_OF_ROWS, depth - begin)
        whole = -(-here // 4)
        for row in range(first, last):
            _integers(x[row, begin : begin + here], factors[row - first, 0], factors[row - first, 1], line[:here])
            line[here : 4 * whole] = np.float32(0.0)
            for four in range(0, whole, 4):
                into = packed.ctypes.data + 4 * (LINE * four + 4 * (row - first))
                spread(line.ctypes.data + 16 * four, into, 4 * LINE)
        _take(job, piece, begin, whole, packed.ctypes.data, 4 * LINE, LINE)


@native
def _pack_columns(job: Array, piece: Scalar) -> None:
    slices, depth = job[_SLICES], job[_DEPTH]
    x, units = carray(singles(job[_X]), (depth, slices)), carray(doubles(job[_UNITS]), (slices,))
    first, last = piece * _STRIP, min((piece + 1) * _STRIP, slices)
    tops = np.zeros(last - first, np.int32)
    factors = np.empty((2, last - first), np.float32)
    for row in range(depth):
        values = x[row, first:last]
        for j in range(tops.shape[0]):
            tops[j] = max(tops[j], magnitude(values[j]))
    for j in range(tops.shape[0]):
        units[first + j] = _unit_for(tops[j], job)
        factors[0, j], factors[1, j] = _factors(units[first + j])
    ones, others = factors[0], factors[1]
    groups, step = -(-(last - first) // GROUP), _DEPTH_OF_COLUMNS // 4
    line, apart = np.zeros(_STRIP, np.float32), np.zeros((4, _STRIP // GROUP, step, GROUP), np.float32)
    gap = _STRIP // GROUP * step * LINE
    for begin in range(0, depth, _DEPTH_OF_COLUMNS):
        here = min(_DEPTH_OF_COLUMNS, depth - begin)
        whole = -(-here // 4)
        for row in range(4 * whole):
            if row < here:
                values, q = x[begin + row, first:last], line[: last - first]
                for j in range(q.shape[0]):
                    q[j] = nearest(values[j] * ones[j] * others[j])
            else:
                line[:] = np.float32(0.0)
            for group in range(groups):
                source, target = line[group * GROUP : (group + 1) * GROUP], apart[row % 4, group, row // 4]
                for j in range(GROUP):
                    target[j] = source[j]
        for group in range(groups):
            _take(job, first // GROUP + group, begin, whole, apart.ctypes.data + group * step * LINE, LINE, gap)


def size(slices: int, depth: int) -> int:
    """Bytes of an operand, packed; it must begin at a multiple of 64."""
    return _groups(slices) * COUNT * -(-depth // 4) * LINE


def _groups(slices: int) -> int:
    return -(-slices // (2 * GROUP)) * 2


def pack(
    x: Tensor, dim: int, grid_bits: int, moduli: Sequence[int], op: str, memory: Callable[[int], Tensor]
) -> tuple[Tensor, Tensor]:
    """Residues of a float32 matrix on grids over `dim`, packed in what `memory` gives for a number of bytes, and their
    units. Raises NonFinite.
    """
    turned = not x.is_contiguous() and x.t().is_contiguous()
    dense = (x.t() if turned else x.contiguous()).resolve_neg()
    slices, depth = (x.shape[0], x.shape[1]) if dim == -1 else (x.shape[1], x.shape[0])
    values = memory(size(slices, depth))
    units = torch.empty(slices, dtype=torch.float64)
    work, step = (_pack_rows, GROUP) if turned == (dim == -2) else (_pack_columns, _STRIP)
    addresses = dense.data_ptr(), values.data_ptr(), units.data_ptr()
    entries = (*addresses, slices, depth, grid_bits, _table(tuple(moduli)).ctypes.data, int(dim == -2))
    job = work.over((*entries, 0, 0, 0), -(-slices // step), threads_for(_STEPS * slices * depth))
    if job[_INFINITE]:
        raise NonFinite(op)
    return values.view(_groups(slices), COUNT, -(-depth // 4), GROUP, 4), units.unsqueeze(dim)


@functools.cache
def _table(moduli: tuple[int, ...]) -> Array:
    divisors = np.array(moduli, np.float32)
    return np.concatenate([divisors, np.float32(1) / divisors])
