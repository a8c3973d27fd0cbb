"""Residues of operands, and integers from residues (validator/exact/residues.py), in one pass each.

Residues are taken in float32, sixteen at a time: an operand q of at most 2^23 units is exact there. With r = fl(1/m),
|q r - q/m| <= 2^23 2^-24 / m = 1/(2m). t = round(q r) is found by adding and subtracting 1.5 * 2^23:
- fused, the addition rounds the exact q r to an integer: |q - t m| <= m/2 + 1/2;
- not fused, the product was rounded before, by at most 2^-24 |q r| <= 1/(2m) (1 + 2^-24): |q - t m| < m/2 + 1.001.
q - t m is an integer and m odd, so it lies within +-127 for every modulus up to 253, either way. The reciprocal of 256
is exact, and what is then 128 wraps to -128, the same modulo 256. |t m| <= 2^23 + 128: the product is an integer below
2^24, exact, and so is the difference; fusing them changes nothing.

So a residue may differ by m between processors with and without a fused multiply-add, and from the eager code's. It
never shows: each stands for the same integer modulo m, is within int8, and what is made of them, by
validator/exact/residues.py, is the one integer C < P/2 that has these residues, whichever of them represent it.

In the reconstruction (`_integer`) every product and sum is an integer below 2^53, or such a one times 2^27, by the
bounds of validator/exact/residues.py: fusing changes nothing. The one exception is Q = round(h 2^27 / P). There the
argument is within 0.177 + 0.053 of the integer Q (C/P and l/P), so at least 0.27 away from where rounding would turn,
and the roundings of the product and of 2^27 / P itself are below 2^-25: Q is the same fused or not.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence

import numpy as np
import torch
from numba import carray  # type: ignore[attr-defined]
from torch import Tensor

from validator.exact.errors import NonFinite
from validator.exact.kernels.build import Array, Scalar, from_bits, fused, inline
from validator.exact.kernels.dense import threads_for
from validator.exact.kernels.native import FIRST, doubles, halves, native, octets, singles
from validator.exact.kernels.units import MOST, magic_bits, magnitude, unit_of, wide_bits

_COLUMNS = 2048
"""Slices that are walked side by side when they are columns: whole rows, for seven streams of output are written."""
_MAGIC = 1.5 * 2.0**52
_MAGIC32 = np.float32(1.5 * 2.0**23)
_CUT = 2.0**27
_COUNT = 7
"""Moduli; a constant, so that the loop over them is unrolled."""
_PIECE = 1 << 13
"""Values of a piece at least: some microseconds of work."""
_STEPS = 8
"""What one value costs, as threads_for counts."""
_X, _OUT, _UNITS, _ROWS, _WIDTH, _STEP, _BITS, _MODULI, _INFINITE = range(FIRST, FIRST + 9)
"""To reduce: addresses of input, output and units; the input's rows and columns; rows or columns of a piece; bits of
the grid; the address of moduli and their reciprocals; and whether a value was too large."""
_SUMS, _INTO, _LEFT, _RIGHT, _HEIGHT, _ACROSS, _LINES, _WEIGHTS, _HOW = range(FIRST, FIRST + 9)
"""To combine: addresses of the sums, the result and both sides' units; the result's rows and columns; rows in a piece;
the address of H_i, L_i, P_H, P_L and 2^27 / P; and one of the next."""
_ROUND, _WRITE, _ADD = range(3)


@inline
def _residues(q: Array, modulus: Scalar, reciprocal: Scalar, out: Array) -> None:
    for j in range(out.shape[0]):
        turns = fused(q[j], reciprocal, _MAGIC32) - _MAGIC32
        out[j] = np.int8(np.int32(fused(-turns, modulus, q[j])))


@native
def _reduce_rows(job: Array, piece: Scalar) -> None:
    rows, width = job[_ROWS], job[_WIDTH]
    x, units = carray(singles(job[_X]), (rows, width)), carray(doubles(job[_UNITS]), (rows,))
    out, moduli = carray(octets(job[_OUT]), (_COUNT, rows, width)), carray(singles(job[_MODULI]), (2, _COUNT))
    q = np.empty(width, np.float32)
    for row in range(piece * job[_STEP], min((piece + 1) * job[_STEP], rows)):
        values = x[row]
        top = magnitude(values[0])
        for j in range(q.shape[0]):
            top = max(top, magnitude(values[j]))
        wide = wide_bits(top)
        if not wide < MOST:
            job[_INFINITE] = 1
        found = magic_bits(wide, job[_BITS])
        magic, unit = from_bits(found), unit_of(found)
        units[row] = unit
        scale = 1.0 / unit
        for j in range(q.shape[0]):
            q[j] = np.float32(((np.float64(values[j]) + magic) - magic) * scale)
        for i in range(_COUNT):
            _residues(q, moduli[0, i], moduli[1, i], out[i, row])


@native
def _reduce_columns(job: Array, piece: Scalar) -> None:
    rows, width = job[_ROWS], job[_WIDTH]
    x, units = carray(singles(job[_X]), (rows, width)), carray(doubles(job[_UNITS]), (width,))
    out, moduli = carray(octets(job[_OUT]), (_COUNT, rows, width)), carray(singles(job[_MODULI]), (2, _COUNT))
    first, last = piece * job[_STEP], min((piece + 1) * job[_STEP], width)
    q, tops = np.empty(last - first, np.float32), np.zeros(last - first, np.int32)
    magics, scales = np.empty(last - first, np.float64), np.empty(last - first, np.float64)
    for row in range(rows):
        values = x[row, first:last]
        for j in range(tops.shape[0]):
            tops[j] = max(tops[j], magnitude(values[j]))
    for j in range(tops.shape[0]):
        wide = wide_bits(tops[j])
        if not wide < MOST:
            job[_INFINITE] = 1
        found = magic_bits(wide, job[_BITS])
        magics[j], units[first + j] = from_bits(found), unit_of(found)
        scales[j] = 1.0 / unit_of(found)
    for row in range(rows):
        values = x[row, first:last]
        for j in range(q.shape[0]):
            q[j] = np.float32(((np.float64(values[j]) + magics[j]) - magics[j]) * scales[j])
        for i in range(_COUNT):
            _residues(q, moduli[0, i], moduli[1, i], out[i, row, first:last])


def reduce(x: Tensor, dim: int, grid_bits: int, moduli: Sequence[int], op: str) -> tuple[Tensor, Tensor]:
    """residues.Residues of a float32 matrix on grids over `dim`, as (values, units). Raises NonFinite."""
    turned = not x.is_contiguous() and x.t().is_contiguous()
    dense = (x.t() if turned else x.contiguous()).resolve_neg()
    rows, width = dense.shape
    values = torch.empty(len(moduli), rows, width, dtype=torch.int8)
    units = torch.empty(x.shape[0] if dim == -1 else x.shape[1], dtype=torch.float64)
    table = _moduli(tuple(moduli))
    if turned == (dim == -2):
        work, step, slices = _reduce_rows, -(-_PIECE // width), rows
    else:
        work, slices = _reduce_columns, width
        step = min(_COLUMNS, -(-width // max(1, threads_for(_STEPS * rows * width))))
    entries = (dense.data_ptr(), values.data_ptr(), units.data_ptr(), rows, width, step, grid_bits, table.ctypes.data)
    job = work.over((*entries, 0, 0, 0), -(-slices // step), threads_for(_STEPS * rows * width))
    if job[_INFINITE]:
        raise NonFinite(op)
    return values.transpose(1, 2) if turned else values, units.unsqueeze(dim)


@functools.cache
def _moduli(moduli: tuple[int, ...]) -> Array:
    divisors = np.array(moduli, np.float32)
    return np.concatenate([divisors, np.float32(1) / divisors])


@inline
def _integer(sums: Array, row: Scalar, j: Scalar, weights: Array) -> Scalar:
    """The integer of the residues sums[:, row, j]."""
    above, below = 0.0, 0.0
    for i in range(_COUNT):
        value = np.float64(sums[i, row, j])
        above = fused(value, weights[i], above)
        below = fused(value, weights[_COUNT + i], below)
    turns = fused(above, weights[2 * _COUNT + 2], _MAGIC) - _MAGIC
    return fused(fused(-turns, weights[2 * _COUNT], above), _CUT, fused(-turns, weights[2 * _COUNT + 1], below))


@native
def _combine(job: Array, piece: Scalar) -> None:
    rows, width, how = job[_HEIGHT], job[_ACROSS], job[_HOW]
    sums, weights = carray(halves(job[_SUMS]), (_COUNT, rows, width)), carray(doubles(job[_WEIGHTS]), (2 * _COUNT + 3,))
    left, right = carray(doubles(job[_LEFT]), (rows,)), carray(doubles(job[_RIGHT]), (width,))
    single, double = carray(singles(job[_INTO]), (rows, width)), carray(doubles(job[_INTO]), (rows, width))
    for row in range(piece * job[_LINES], min((piece + 1) * job[_LINES], rows)):
        if how == _ROUND:
            for j in range(width):
                value = _integer(sums, row, j, weights) * (left[row] * right[j])
                single[row, j] = np.float32(value) + np.float32(0.0)
        elif how == _WRITE:
            for j in range(width):
                double[row, j] = _integer(sums, row, j, weights) * (left[row] * right[j]) + 0.0
        else:
            for j in range(width):
                double[row, j] += _integer(sums, row, j, weights) * (left[row] * right[j])


def combine(
    sums: Tensor,
    left: Tensor,
    right: Tensor,
    out: Tensor,
    weights: Sequence[float],
    add: bool,
) -> None:
    """Integers from int32 `sums` (7, m, n), times units `left` (m, 1) and `right` (1, n), to or onto `out` (m, n).

    `weights`: H_i, L_i, P_H, P_L and 2^27 / P of residues.py. `out` is float64, or float32 if not `add`. All lie in
    memory row by row, without gaps.
    """
    if not all(x.is_contiguous() for x in (sums, left, right, out)):
        raise ValueError("the operands must be contiguous")
    table = (ctypes.c_double * (2 * _COUNT + 3))(*weights)
    how = _ADD if add else (_ROUND if out.dtype == torch.float32 else _WRITE)
    rows, width = out.shape
    step = -(-_PIECE // width)
    _combine.over(
        (
            *(x.data_ptr() for x in (sums, out, left, right)),
            *(rows, width, step, ctypes.addressof(table), how, 0, 0),
        ),
        -(-rows // step),
        threads_for(4 * rows * width),
    )
