"""The arithmetic of grids inside kernels: magnitudes as integers, magic numbers by their bits, sums of integers.

Magnitudes are compared as the integers that their bits are, and sums add the integers bits(x + magic): both are free of
order, so the compiler may vectorise them.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba.core import types

from validator.exact.kernels.build import Array, Code, Scalar, bits, from_bits, inline, primitive

LEAST = np.int64(0x26F) << np.int64(52)
"""The bits of 2^-400."""
MOST = np.int64(0x58F) << np.int64(52)
"""The bits of 2^400."""
EXPONENT = np.int64(0x7FF) << np.int64(52)
HALF = np.int64(1) << np.int64(51)


@primitive
def magnitude(typing: Code, value: Code) -> Code:
    """|x| as the integer that its bits are: int32 for float32, int64 for float64. NaN exceeds every number."""
    single = value == types.float32

    def code(context: Code, builder: Code, signature: Code, args: Code) -> Code:
        integer = ir.IntType(32 if single else 64)
        return builder.and_(builder.bitcast(args[0], integer), integer((1 << (31 if single else 63)) - 1))

    return (types.int32 if single else types.int64)(value), code


@primitive
def wide_bits(typing: Code, value: Code) -> Code:
    """What `magnitude` gave, as the bits of the same number in float64."""
    single = value == types.int32

    def code(context: Code, builder: Code, signature: Code, args: Code) -> Code:
        if not single:
            return args[0]
        number = builder.fpext(builder.bitcast(args[0], ir.FloatType()), ir.DoubleType())
        return builder.bitcast(number, ir.IntType(64))

    return types.int64(value), code


@inline
def magic_bits(top: Scalar, grid_bits: Scalar) -> Scalar:
    """The bits of the magic number for slices up to the magnitude `top` (bits of a float64); see scaling.grid."""
    return (max(top, LEAST) & EXPONENT) + ((np.int64(53) - grid_bits) << np.int64(52)) + HALF


@inline
def unit_of(magic: Scalar) -> Scalar:
    """The unit of the grid of a magic number, given by its bits."""
    return from_bits((magic & EXPONENT) - (np.int64(52) << np.int64(52)))


# Indices into vectors start at 0 below: numba would test any other for being negative, and not vectorise.


@inline
def largest(x: Array) -> Scalar:
    """The largest magnitude of a vector, as the bits of a float64."""
    top = magnitude(x[0])
    for j in range(x.shape[0]):
        top = max(top, magnitude(x[j]))
    return wide_bits(top)


@inline
def count_units(x: Array, magic: Scalar) -> Scalar:
    """The sum of a vector on the grid of a magic number, in units."""
    number = from_bits(magic)
    total = np.int64(0)
    for j in range(x.shape[0]):
        total += bits(np.float64(x[j]) + number)
    return total - magic * np.int64(x.shape[0])


@inline
def largest_of_columns(x: Array, outer: Scalar, first: Scalar, stop: Scalar, tops: Array) -> None:
    """The largest magnitude of each column first:stop of x[outer], as `largest` gives it, into `tops`."""
    found = np.array([magnitude(value) for value in x[outer, 0, first:stop]])
    for row in range(x.shape[1]):
        values = x[outer, row, first:stop]
        for j in range(found.shape[0]):
            found[j] = max(found[j], magnitude(values[j]))
    for j in range(found.shape[0]):
        tops[j] = wide_bits(found[j])


@inline
def add_columns(x: Array, number: Array, sums: Array) -> None:
    """Add a row's values, each on the grid of its column's magic `number`, to `sums`, as bits."""
    for j in range(x.shape[0]):
        sums[j] += bits(np.float64(x[j]) + number[j])
