"""Residues of operands, taken and packed in one pass, as the products of tiles.py want them.

Residues are taken in float32, sixteen at a time: an operand q of at most 2^23 units is exact there. With r = fl(1/m),
|q r - q/m| <= 2^23 2^-24 / m = 1/(2m). t = round(q r) is found by adding and subtracting 1.5 * 2^23:
- fused, the addition rounds the exact q r to an integer: |q - t m| <= m/2 + 1/2;
- not fused, the product was rounded before, by at most 2^-24 |q r| <= 1/(2m) (1 + 2^-24): |q - t m| < m/2 + 1.001.
q - t m is an integer and m odd, so it lies within +-127 for every modulus up to 253, either way. The reciprocal of 256
is exact, and what is then 128 wraps to -128, the same modulo 256. |t m| <= 2^23 + 128: the product is an integer below
2^24, exact, and so is the difference; fusing them changes nothing.

Processors multiply bytes without a sign by bytes with one. So a right operand's residue gets m added where it is
negative, which puts it between 0 and 255: from -127 it becomes 126 at least, by 253, and what is not negative is at
most 127, or 128 by 256.

So a residue may differ by m between processors with and without a fused multiply-add, and from the eager code's. It
never shows: each stands for the same integer modulo m, is within its byte, and what is made of them is the one integer
C < P/2 that has these residues, whichever of them represent it.

Packed, sixteen slices (rows of a left operand, columns of a right one) lie side by side, four elements of each in 32
bits: (groups of slices, moduli, depth / 4, 16, 4). Beyond the depth there are zeros; the slices that are missing in the
last group, and the group that makes the number of a right operand's even, hold anything.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np
import torch
from llvmlite import ir
from numba import carray  # type: ignore[attr-defined]
from numba.core import types
from torch import Tensor

from validator.exact.errors import NonFinite
from validator.exact.kernels.build import Array, Code, Scalar, from_bits, fused, inline, primitive
from validator.exact.kernels.dense import threads_for
from validator.exact.kernels.native import FIRST, doubles, halves, native, octets, singles
from validator.exact.kernels.units import MOST, magic_bits, magnitude, unit_of, wide_bits

COUNT = 7
"""Moduli; a constant, so that the loop over them is unrolled."""
GROUP = 16
"""Slices side by side."""
LINE = 4 * GROUP
"""Bytes of a group for four elements of the depth and one modulus: what one instruction multiplies."""
_DEPTH_OF_ROWS, _DEPTH_OF_COLUMNS = 256, 64
"""Elements of the depth that are packed at a time, so that they stay in the first-level cache (16 KiB)."""
_STRIP = 4 * GROUP
"""Slices that are walked side by side when they are columns."""
_MAGIC32 = np.float32(1.5 * 2.0**23)
_STEPS = 8
"""What one value costs, as threads_for counts."""
_X, _OUT, _UNITS, _SLICES, _DEPTH, _BITS, _MODULI, _SIGNLESS, _INFINITE = range(FIRST, FIRST + 9)
"""Addresses of input, output and units; how many slices of which depth; bits of the grid; the address of moduli and
their reciprocals; whether residues are to be without a sign; and whether a value was too large."""


@primitive
def _side_by_side(typing: Code, a: Code, b: Code, c: Code, d: Code) -> Code:
    """The lowest bytes of four int32 as one int32. In LLVM's terms, for numba widens operations on int32 to int64."""

    def code(context: Code, builder: Code, signature: Code, args: Code) -> Code:
        whole, byte = ir.IntType(32), ir.IntType(8)
        result = builder.shl(args[3], whole(24))
        for i in range(3):
            low = builder.zext(builder.trunc(args[i], byte), whole)
            result = builder.or_(result, builder.shl(low, whole(8 * i)))
        return result

    return types.int32(types.int32, types.int32, types.int32, types.int32), code


@inline
def _residue(q: Scalar, modulus: Scalar, reciprocal: Scalar, lift: Scalar) -> Scalar:
    """An integer in float32 modulo `modulus`, in int32; `lift` is added to a negative one."""
    turns = fused(q, reciprocal, _MAGIC32) - _MAGIC32
    residue = fused(-turns, modulus, q)
    return np.int32(residue + (lift if residue < np.float32(0.0) else np.float32(0.0)))


@inline
def _grid_of(top: Scalar, job: Array) -> tuple[Scalar, Scalar]:
    """Magic number and unit for slices up to a magnitude, whose being too large is told to the job."""
    wide = wide_bits(top)
    if not wide < MOST:
        job[_INFINITE] = 1
    found = magic_bits(wide, job[_BITS])
    return from_bits(found), unit_of(found)


@inline
def _snapped(values: Array, magic: Scalar, scale: Scalar, out: Array) -> None:
    for j in range(values.shape[0]):
        out[j] = np.float32(((np.float64(values[j]) + magic) - magic) * scale)


@native
def _pack_rows(job: Array, piece: Scalar) -> None:
    slices, depth = job[_SLICES], job[_DEPTH]
    x, units = carray(singles(job[_X]), (slices, depth)), carray(doubles(job[_UNITS]), (slices,))
    moduli, fours = carray(singles(job[_MODULI]), (2, COUNT)), -(-depth // 4)
    first, last = piece * GROUP, min((piece + 1) * GROUP, slices)
    magics, scales = np.empty(GROUP, np.float64), np.empty(GROUP, np.float64)
    for row in range(first, last):
        values = x[row]
        top = magnitude(values[0])
        for j in range(values.shape[0]):
            top = max(top, magnitude(values[j]))
        magics[row - first], units[row] = _grid_of(top, job)
        scales[row - first] = 1.0 / units[row]
    line, packed = np.empty(_DEPTH_OF_ROWS, np.float32), np.zeros((_DEPTH_OF_ROWS // 4, GROUP, 4), np.float32)
    for begin in range(0, depth, _DEPTH_OF_ROWS):
        here = min(_DEPTH_OF_ROWS, depth - begin)
        whole = -(-here // 4)
        for row in range(first, last):
            _snapped(x[row, begin : begin + here], magics[row - first], scales[row - first], line[:here])
            line[here : 4 * whole] = np.float32(0.0)
            for four in range(whole):
                source, target = line[4 * four : 4 * four + 4], packed[four, row - first]
                a, b, c, d = source[0], source[1], source[2], source[3]
                target[0], target[1], target[2], target[3] = a, b, c, d
        flat = packed.reshape(-1)
        for i in range(COUNT):
            modulus, reciprocal = moduli[0, i], moduli[1, i]
            lift = modulus if job[_SIGNLESS] else np.float32(0.0)
            place = ((piece * COUNT + i) * fours + begin // 4) * LINE
            out = carray(octets(job[_OUT] + place), (whole * LINE,))
            for j in range(out.shape[0]):
                out[j] = np.int8(_residue(flat[j], modulus, reciprocal, lift))


@native
def _pack_columns(job: Array, piece: Scalar) -> None:
    slices, depth = job[_SLICES], job[_DEPTH]
    x, units = carray(singles(job[_X]), (depth, slices)), carray(doubles(job[_UNITS]), (slices,))
    moduli, fours = carray(singles(job[_MODULI]), (2, COUNT)), -(-depth // 4)
    first, last = piece * _STRIP, min((piece + 1) * _STRIP, slices)
    tops = np.zeros(last - first, np.int32)
    magics, scales = np.empty(last - first, np.float64), np.empty(last - first, np.float64)
    for row in range(depth):
        values = x[row, first:last]
        for j in range(tops.shape[0]):
            tops[j] = max(tops[j], magnitude(values[j]))
    for j in range(tops.shape[0]):
        magics[j], unit = _grid_of(tops[j], job)
        units[first + j] = unit
        scales[j] = 1.0 / unit
    groups, step = -(-(last - first) // GROUP), _DEPTH_OF_COLUMNS // 4
    line, apart = np.zeros(_STRIP, np.float32), np.zeros((4, _STRIP // GROUP, step, GROUP), np.float32)
    for begin in range(0, depth, _DEPTH_OF_COLUMNS):
        here = min(_DEPTH_OF_COLUMNS, depth - begin)
        whole = -(-here // 4)
        for row in range(4 * whole):
            if row < here:
                values, q = x[begin + row, first:last], line[: last - first]
                for j in range(q.shape[0]):
                    q[j] = np.float32(((np.float64(values[j]) + magics[j]) - magics[j]) * scales[j])
            else:
                line[:] = np.float32(0.0)
            for group in range(groups):
                source, target = line[group * GROUP : (group + 1) * GROUP], apart[row % 4, group, row // 4]
                for j in range(GROUP):
                    target[j] = source[j]
        for group in range(groups):
            a, b = apart[0, group].reshape(-1), apart[1, group].reshape(-1)
            c, d = apart[2, group].reshape(-1), apart[3, group].reshape(-1)
            for i in range(COUNT):
                modulus, reciprocal = moduli[0, i], moduli[1, i]
                lift = modulus if job[_SIGNLESS] else np.float32(0.0)
                place = (((first // GROUP + group) * COUNT + i) * fours + begin // 4) * LINE
                out = carray(halves(job[_OUT] + place), (whole * GROUP,))
                for j in range(out.shape[0]):
                    out[j] = _side_by_side(
                        _residue(a[j], modulus, reciprocal, lift),
                        _residue(b[j], modulus, reciprocal, lift),
                        _residue(c[j], modulus, reciprocal, lift),
                        _residue(d[j], modulus, reciprocal, lift),
                    )


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
