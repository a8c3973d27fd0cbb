"""Exact products of packed residues (moduli.py, residues.py), and the integers they determine, tile by tile.

Sixteen rows by thirty-two columns of a result are found at a time: the seven products of that tile's residues, summed
in registers, lie in the first-level cache when the integers are made of them. A sum of 1024 products of a byte with a
sign by one without is at most 1024 * 128 * 255 < 2^25.

In the reconstruction (`_integer`) every product and sum is an integer below 2^53, or such a one times 2^27, by the
bounds of validator/exact/residues.py: fusing changes nothing. The one exception is Q = round(h 2^27 / P). There the
argument is within 0.17 + 0.11 of the integer Q (C/P and l/P), so at least 0.22 away from where rounding would turn,
and the roundings of the product and of 2^27 / P itself are below 2^-24: Q is the same fused or not.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np
import torch
from llvmlite import ir
from numba import carray  # type: ignore[attr-defined]
from numba.core import types
from torch import Tensor

from validator.exact.kernels.build import Array, Code, Scalar, fused, has, inline, primitive
from validator.exact.kernels.dense import threads_for
from validator.exact.kernels.moduli import LINE
from validator.exact.kernels.native import FIRST, RANGES, doubles, native, singles
from validator.exact.kernels.residues import COUNT, GROUP
from validator.exact.kernels.vectors import every, loaded, picked, stored

_ROWS, _ACROSS = 8, 2
"""Rows and groups of columns whose sums are in registers: 16 of 32, enough for the multiplier never to wait."""
_WIDE = _ACROSS * GROUP
"""Columns of a tile."""
_CHUNK = 4
"""Groups of rows in a piece: 64 rows, for which the columns' residues stay in the second-level cache."""
_MAGIC = 1.5 * 2.0**52
_CUT = 2.0**27
_LEFT, _RIGHT, _ROW_UNITS, _COLUMN_UNITS, _INTO, _HEIGHT, _WIDTH, _FOURS, _BLOCK, _WEIGHTS, _SINGLE = range(
    FIRST, FIRST + 11
)
"""Addresses of the operands, their units and the result; its rows and columns; a fourth of the depth, and of a block of
it; the address of H_i, L_i, P_H, P_L and 2^27 / P; and whether the result is float32."""

_VNNI = "llvm.x86.avx512.vpdpbusd.512"
_INT, _SHORT, _BYTE = ir.IntType(64), ir.IntType(32), ir.IntType(8)
_SUMS, _BYTES = ir.VectorType(_SHORT, GROUP), ir.VectorType(_BYTE, LINE)


def _dot(context: Code, builder: Code, sums: Code, signless: Code, signed: Code) -> Code:
    """`sums` and, to each, the sum of four products of bytes."""
    if has(context, "avx512vnni"):
        kind = ir.FunctionType(_SUMS, (_SUMS, _BYTES, _BYTES))
        one = builder.module.globals.get(_VNNI) or ir.Function(builder.module, kind, _VNNI)
        return builder.call(one, (sums, signless, signed))
    wide = ir.VectorType(_SHORT, LINE)
    products = builder.mul(builder.zext(signless, wide), builder.sext(signed, wide))
    for i in range(4):
        sums = builder.add(sums, picked(builder, products, products, list(range(i, LINE, 4))))
    return sums


@primitive
def _tile(typing: Code, left: Code, right: Code, gap: Code, fours: Code, into: Code) -> Code:
    """Sums of products of _ROWS rows, whose bytes begin at the address `left`, with _WIDE columns, whose groups begin
    at `right` and `gap` bytes further, over 4 * `fours` >= 4 elements; as int32 to (_ROWS, _WIDE) at `into`.
    """

    def code(context: Code, builder: Code, signature: Code, args: Code) -> Code:
        left, right, gap, fours, into = args
        before, loop, after = builder.block, builder.append_basic_block("add"), builder.append_basic_block("store")
        builder.branch(loop)
        builder.position_at_end(loop)
        four, sums = builder.phi(_INT), [builder.phi(_SUMS) for _ in range(_ROWS * _ACROSS)]
        past = builder.mul(four, _INT(LINE))
        starts = [builder.add(right, builder.mul(gap, _INT(i))) for i in range(_ACROSS)]
        columns = [loaded(builder, start, _BYTES, past, LINE) for start in starts]
        added: list[Code] = []
        for row in range(_ROWS):
            place = builder.add(builder.add(left, past), _INT(4 * row))
            repeated = builder.bitcast(every(builder, loaded(builder, place, _SHORT), _SUMS), _BYTES)
            for column in columns:
                added.append(_dot(context, builder, sums[len(added)], column, repeated))
        following = builder.add(four, _INT(1))
        four.add_incoming(_INT(0), before)
        four.add_incoming(following, loop)
        for each, value in zip(sums, added, strict=True):
            each.add_incoming(ir.Constant(_SUMS, [0] * GROUP), before)
            each.add_incoming(value, loop)
        builder.cbranch(builder.icmp_signed("<", following, fours), loop, after)
        builder.position_at_end(after)
        for i, value in enumerate(added):
            stored(builder, value, into, 4 * GROUP * i)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), code


@inline
def _integer(sums: Array, row: Scalar, j: Scalar, weights: Array) -> Scalar:
    """The integer of the residues sums[:, row, j]."""
    above, below = 0.0, 0.0
    for i in range(COUNT):
        value = np.float64(sums[i, row, j])
        above = fused(value, weights[i], above)
        below = fused(value, weights[COUNT + i], below)
    turns = fused(above, weights[2 * COUNT + 2], _MAGIC) - _MAGIC
    return fused(fused(-turns, weights[2 * COUNT], above), _CUT, fused(-turns, weights[2 * COUNT + 1], below))


@inline
def _place(piece: Scalar, chunks: Scalar, panels: Scalar, bands: Scalar) -> tuple[Scalar, Scalar]:
    """First column and row of a piece: chunk by chunk of the rows, over one of so many bands of the columns after the
    other.
    """
    band = np.int64(0)
    while band + 1 < bands and piece >= panels * (band + 1) // bands * chunks:
        band += 1
    start, stop = panels * band // bands, panels * (band + 1) // bands
    within = piece - start * chunks
    return (start + within % (stop - start)) * _WIDE, within // (stop - start) * _CHUNK * GROUP


@native
def _multiply(job: Array, piece: Scalar) -> None:
    rows, width, fours = job[_HEIGHT], job[_WIDTH], job[_FOURS]
    left, right = carray(doubles(job[_ROW_UNITS]), (rows,)), carray(doubles(job[_COLUMN_UNITS]), (width,))
    weights, operand = carray(doubles(job[_WEIGHTS]), (2 * COUNT + 3,)), fours * LINE
    column, above = _place(piece, -(-rows // (_CHUNK * GROUP)), -(-width // _WIDE), job[RANGES] if rows < width else 1)
    across, below = min(_WIDE, width - column), min(_CHUNK * GROUP, rows - above)
    units = right[column : column + across]
    sums, totals = np.empty((COUNT, GROUP, _WIDE), np.int32), np.zeros((_CHUNK * GROUP, _WIDE), np.float64)
    for begin in range(0, fours, job[_BLOCK]):
        here = min(job[_BLOCK], fours - begin)
        for first in range(0, below, GROUP):
            for i in range(COUNT):
                rights = job[_RIGHT] + (column // GROUP * COUNT + i) * operand + begin * LINE
                lefts = job[_LEFT] + ((above + first) // GROUP * COUNT + i) * operand + begin * LINE
                for row in range(0, GROUP, _ROWS):
                    into = sums.ctypes.data + (i * GROUP + row) * 4 * _WIDE
                    _tile(lefts + 4 * row, rights, COUNT * operand, here, into)
            for row in range(min(GROUP, below - first)):
                total, unit = totals[first + row], left[above + first + row]
                for j in range(units.shape[0]):
                    total[j] += _integer(sums, row, j, weights) * (unit * units[j])
    for row in range(below):
        total, place = totals[row], (above + row) * width + column
        if job[_SINGLE]:
            single = carray(singles(job[_INTO] + 4 * place), (across,))
            for j in range(single.shape[0]):
                single[j] = np.float32(total[j]) + np.float32(0.0)
        else:
            double = carray(doubles(job[_INTO] + 8 * place), (across,))
            for j in range(double.shape[0]):
                double[j] = total[j]


def multiply(
    left: tuple[Tensor, Tensor],
    right: tuple[Tensor, Tensor],
    block: int,
    weights: Sequence[float],
    out: Tensor,
) -> None:
    """The product of what residues.pack gave for both sides, by blocks of the depth, to `out`: (m, n) of either float.

    `weights`: H_i, L_i, P_H, P_L and 2^27 / P of validator/exact/residues.py.
    """
    (a, row_units), (b, column_units) = left, right
    fours, (rows, width) = a.shape[2], out.shape
    if not (out.is_contiguous() and b.shape[2] == fours and block % 4 == 0):
        raise ValueError("operands of one depth, blocks in fours, and a contiguous result are needed")
    table = (ctypes.c_double * (2 * COUNT + 3))(*weights)
    addresses = (x.data_ptr() for x in (a, b, row_units, column_units, out))
    pieces = -(-width // _WIDE) * -(-rows // (_CHUNK * GROUP))
    _multiply.over(
        (*addresses, rows, width, fours, block // 4, ctypes.addressof(table), int(out.dtype == torch.float32)),
        pieces,
        threads_for(rows * width * fours),
    )
