"""Sums of float32 over dimensions that others follow in memory, such as the columns of a matrix, without detours.

Columns that lie side by side are walked together, row by row: once for their largest magnitudes, once to be added.
What dense.py says of rows holds here; everything else is for grids.py.
"""

from __future__ import annotations

import numpy as np
from numba import carray  # type: ignore[attr-defined]
from torch import Tensor

from validator.exact.kernels.build import Array, Scalar, from_bits
from validator.exact.kernels.dense import PIECE, double_bits, threads_for
from validator.exact.kernels.native import FIRST, native, singles
from validator.exact.kernels.units import MOST, add_columns, largest_of_columns, magic_bits, unit_of

_COLUMNS = 256
"""Columns that are walked side by side: what is known of them stays in the first-level cache."""
_X, _OUT, _OUTER, _LENGTH, _INNER, _STEP, _BITS, _BY, _INFINITE = range(FIRST, FIRST + 9)
"""Addresses of input and output; the input's form (outer, length, inner); blocks of columns in a piece; bits of the
grid; the bits of a divisor; and whether a value was too large."""


@native
def _sum_columns(job: Array, piece: Scalar) -> None:
    outer, length, inner = job[_OUTER], job[_LENGTH], job[_INNER]
    x, out = carray(singles(job[_X]), (outer, length, inner)), carray(singles(job[_OUT]), (outer, inner))
    blocks = (inner + _COLUMNS - 1) // _COLUMNS
    tops, sums, numbers = np.empty(_COLUMNS, np.int64), np.empty(_COLUMNS, np.int64), np.empty(_COLUMNS, np.float64)
    for number in range(piece * job[_STEP], min((piece + 1) * job[_STEP], outer * blocks)):
        place, first = number // blocks, number % blocks * _COLUMNS
        stop = min(first + _COLUMNS, inner)
        largest_of_columns(x, place, first, stop, tops)
        for j in range(stop - first):
            if not tops[j] < MOST:
                job[_INFINITE] = 1
            numbers[j] = from_bits(magic_bits(tops[j], job[_BITS]))
            sums[j] = 0
        for row in range(length):
            add_columns(x[place, row, first:stop], numbers, sums)
        for j in range(stop - first):
            magic = magic_bits(tops[j], job[_BITS])
            total = np.float64(sums[j] - magic * length) * unit_of(magic)
            out[place, first + j] = np.float32(total / from_bits(job[_BY])) + np.float32(0.0)


def sum_columns(x: Tensor, out: Tensor, shape: tuple[int, int, int], grid_bits: int, by: int) -> bool:
    """Sums over `by` of `x` (outer, length, inner) along its second dimension into `out` (outer, inner), both float32
    and contiguous; whether all magnitudes were below 2^400.
    """
    outer, length, inner = shape
    total = outer * -(-inner // _COLUMNS)
    step = max(1, PIECE // (length * min(inner, _COLUMNS)))
    job = _sum_columns.over(
        (x.data_ptr(), out.data_ptr(), outer, length, inner, step, grid_bits, double_bits(by), 0, 0, 0),
        -(-total // step),
        threads_for(outer * length * inner),
    )
    return not job[_INFINITE]
