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

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from validator.exact.errors import NonFinite
from validator.exact.kernels.build import Array, Scalar, from_bits, fused, inline, kernel
from validator.exact.kernels.parallel import split
from validator.exact.kernels.units import magic_bits, magnitude, unit_of, wide_bits

_COLUMNS = 2048
"""Slices that are walked side by side when they are columns: whole rows, for seven streams of output are written."""
_MOST = np.int64(0x58F) << np.int64(52)
"""The bits of 2^400: NaN and infinity are not below it."""
_MAGIC = 1.5 * 2.0**52
_MAGIC32 = np.float32(1.5 * 2.0**23)
_CUT = 2.0**27
_COUNT = 7
"""Moduli; a constant, so that the loop over them is unrolled."""


@inline
def _residues(q: Array, modulus: Scalar, reciprocal: Scalar, out: Array) -> None:
    for j in range(out.shape[0]):
        turns = fused(q[j], reciprocal, _MAGIC32) - _MAGIC32
        out[j] = np.int8(np.int32(fused(-turns, modulus, q[j])))


# Kernels get whole arrays and the range that is theirs, not slices of several dimensions: numba would take those for
# arrays of any stride, and gather what it could load.


@kernel
def _reduce_rows(
    x: Array,
    out: Array,
    units: Array,
    first: Scalar,
    last: Scalar,
    grid_bits: Scalar,
    moduli: Array,
    reciprocals: Array,
) -> Scalar:
    finite = True
    q = np.empty(x.shape[1], np.float32)
    for row in range(first, last):
        values = x[row]
        top = magnitude(values[0])
        for j in range(q.shape[0]):
            top = max(top, magnitude(values[j]))
        wide = wide_bits(top)
        finite &= wide < _MOST
        found = magic_bits(wide, grid_bits)
        magic, unit = from_bits(found), unit_of(found)
        units[row] = unit
        scale = 1.0 / unit
        for j in range(q.shape[0]):
            q[j] = np.float32(((np.float64(values[j]) + magic) - magic) * scale)
        for i in range(moduli.shape[0]):
            _residues(q, moduli[i], reciprocals[i], out[i, row])
    return finite


@kernel
def _reduce_columns(
    x: Array,
    out: Array,
    units: Array,
    first: Scalar,
    last: Scalar,
    grid_bits: Scalar,
    moduli: Array,
    reciprocals: Array,
) -> Scalar:
    finite = True
    width = last - first
    q, tops = np.empty(width, np.float32), np.zeros(width, np.int32)
    magics, scales = np.empty(width, np.float64), np.empty(width, np.float64)
    for row in range(x.shape[0]):
        values = x[row][first:last]
        for j in range(width):
            tops[j] = max(tops[j], magnitude(values[j]))
    for j in range(width):
        wide = wide_bits(tops[j])
        finite &= wide < _MOST
        found = magic_bits(wide, grid_bits)
        magics[j], units[first + j] = from_bits(found), unit_of(found)
        scales[j] = 1.0 / unit_of(found)
    for row in range(x.shape[0]):
        values = x[row][first:last]
        for j in range(width):
            q[j] = np.float32(((np.float64(values[j]) + magics[j]) - magics[j]) * scales[j])
        for i in range(moduli.shape[0]):
            _residues(q, moduli[i], reciprocals[i], out[i, row][first:last])
    return finite


def reduce(x: Tensor, dim: int, grid_bits: int, moduli: Sequence[int], op: str) -> tuple[Tensor, Tensor]:
    """residues.Residues of a float32 matrix on grids over `dim`, as (values, units). Raises NonFinite."""
    turned = not x.is_contiguous() and x.t().is_contiguous()
    dense = x.t() if turned else x.contiguous()
    values = torch.empty(len(moduli), *dense.shape, dtype=torch.int8)
    units = torch.empty(x.shape[0] if dim == -1 else x.shape[1], dtype=torch.float64)
    divisors = np.array(moduli, np.float32)
    work = (dense.detach().numpy(), values.numpy(), units.numpy(), grid_bits, divisors, np.float32(1) / divisors)
    if not (_by_rows(*work) if turned == (dim == -2) else _by_columns(*work)):
        raise NonFinite(op)
    return values.transpose(1, 2) if turned else values, units.unsqueeze(dim)


def _by_rows(x: Array, out: Array, units: Array, *rest: object) -> bool:
    finite: list[bool] = []

    def run(start: int, stop: int) -> None:
        finite.append(_reduce_rows(x, out, units, start, stop, *rest))

    split(x.shape[0], 8 * x.shape[1], run)
    return all(finite)


def _by_columns(x: Array, out: Array, units: Array, *rest: object) -> bool:
    finite: list[bool] = []

    def run(start: int, stop: int) -> None:
        finite.extend(
            _reduce_columns(x, out, units, first, min(first + _COLUMNS, stop), *rest)
            for first in range(start, stop, _COLUMNS)
        )

    split(x.shape[1], 8 * x.shape[0], run)
    return all(finite)


@inline
def _integer(sums: Array, row: Scalar, j: Scalar, high: Array, low: Array, whole: Array) -> Scalar:
    """The integer of the residues sums[:, row, j]; `whole` is (P_H, P_L, 2^27 / P)."""
    above, below = 0.0, 0.0
    for i in range(_COUNT):
        value = np.float64(sums[i, row, j])
        above = fused(value, high[i], above)
        below = fused(value, low[i], below)
    turns = fused(above, whole[2], _MAGIC) - _MAGIC
    return fused(fused(-turns, whole[0], above), _CUT, fused(-turns, whole[1], below))


@kernel
def _round(
    sums: Array,
    left: Array,
    right: Array,
    out: Array,
    first: Scalar,
    last: Scalar,
    high: Array,
    low: Array,
    whole: Array,
) -> None:
    for row in range(first, last):
        for j in range(out.shape[1]):
            value = _integer(sums, row, j, high, low, whole) * (left[row] * right[j])
            out[row, j] = np.float32(value) + np.float32(0.0)


@kernel
def _write(
    sums: Array,
    left: Array,
    right: Array,
    out: Array,
    first: Scalar,
    last: Scalar,
    high: Array,
    low: Array,
    whole: Array,
) -> None:
    for row in range(first, last):
        for j in range(out.shape[1]):
            out[row, j] = _integer(sums, row, j, high, low, whole) * (left[row] * right[j]) + 0.0


@kernel
def _add(
    sums: Array,
    left: Array,
    right: Array,
    out: Array,
    first: Scalar,
    last: Scalar,
    high: Array,
    low: Array,
    whole: Array,
) -> None:
    for row in range(first, last):
        for j in range(out.shape[1]):
            out[row, j] += _integer(sums, row, j, high, low, whole) * (left[row] * right[j])


def combine(
    sums: Tensor,
    left: Tensor,
    right: Tensor,
    out: Tensor,
    weights: tuple[Sequence[float], Sequence[float], tuple[float, float], float],
    add: bool,
) -> None:
    """Integers from int32 `sums` (7, m, n), times units `left` (m, 1) and `right` (1, n), to or onto `out` (m, n).

    `weights`: H_i, L_i, (P_H, P_L) and 2^27 / P of residues.py. `out` is float64, or float32 if not `add`.
    """
    high, low, whole, inverse = weights
    write = _add if add else (_round if out.dtype == torch.float32 else _write)
    arrays = (sums.numpy(), left.view(-1).numpy(), right.view(-1).numpy(), out.numpy())
    rest = (np.array(high), np.array(low), np.array((*whole, inverse)))
    split(out.shape[0], 4 * out.shape[1], lambda first, last: write(*arrays, first, last, *rest))
