"""Matrix products whose every partial sum is an integer below 2^53: exact in any order, with or without FMA.

For A (..., m, k) @ B (..., k, n) each row of A and each column of B is snapped to its own grid of at most 2^b units
(scaling.py). A dot product is then a sum of k integers of at most 2^2b units, and 2b + ceil(log2 k) <= 53 keeps every
partial sum, in whatever order a BLAS takes it, exactly representable. b depends on k alone, and a grid on one row or
one column alone: a row's result does not depend on its batch.

k beyond 1024 is cut into blocks of 1024, each exact, added in ascending order by one rounded float64 addition each.

Error for float32 operands: |C - AB| <= k * 2^(1-b) * (1 + 2^-b) * max|row| * max|column| before the one rounding to
float32 (b = 23 for 65 <= k <= 128, 21 from 513 on). float64 operands are cut into three slices each; the
six products of the leading slices are added from small to large: the error is that of a few float64 roundings.

int8 tensor cores may compute the same integers from 7-bit slices: the integers, not the engine, define the result.
"""

from __future__ import annotations

import torch
from torch import Tensor

from validator.exact import residues
from validator.exact.errors import UnsupportedOp
from validator.exact.frozen import kept, operand
from validator.exact.fused import fused
from validator.exact.scaling import ceil_log2, slice_count

BLOCK = 1024
_PAIRS = ((0, 2), (2, 0), (1, 1), (0, 1), (1, 0), (0, 0))
"""Slice products of float64 operands, smallest first; what is left out is below 2^-3b."""


def operand_bits(k: int) -> int:
    """b: the largest with 2b + ceil(log2 k) <= 53 for a block of min(k, BLOCK)."""
    return (53 - ceil_log2(min(k, BLOCK))) // 2


def product(a: Tensor, b: Tensor, op: str) -> Tensor:
    """A @ B in float64, not yet rounded to the working dtype: a (m, k), b (k, n), or both with one leading dimension.

    The sign of a zero depends on the BLAS: pass the result through `settle`. Raises NonFinite and UnsupportedOp.
    """
    if a.dtype != b.dtype:
        raise UnsupportedOp(op, f"operands of {a.dtype} and {b.dtype} are mixed; convert one")
    k = a.shape[-1]
    if a.numel() == 0 or b.numel() == 0:
        return torch.zeros(*a.shape[:-1], b.shape[-1], dtype=torch.float64, device=a.device)
    count = slice_count(a.dtype)
    bits = operand_bits(k)
    left = operand(a, (-1,), bits, count, op)
    right = operand(b, (-2,), bits, count, op)
    if count == 1:
        return _blocks(left[0], right[0])
    total = _blocks(left[0], right[2])
    for i, j in _PAIRS[1:]:
        total.add_(_blocks(left[i], right[j]))
    return total


def rounded(a: Tensor, b: Tensor, op: str) -> Tensor:
    """`product`, settled to the dtype of its operands, by the engine that is faster here. The bits are the same."""
    if not residues.pays(a, b):
        return settle(product(a, b, op), a.dtype)
    bits = operand_bits(a.shape[-1])
    with residues.Room() as room:
        left, right = _residues(a, -1, bits, op, room), _residues(b, -2, bits, op, room)
        return residues.multiply(left, right, a.dim() == 3, BLOCK, a.dtype)


def _residues(x: Tensor, dim: int, bits: int, op: str, room: residues.Room) -> list[residues.Operand]:
    """One side of a product: in memory of its own if it is kept with a frozen tensor, else in the room."""
    return kept(
        x,
        ("residues", dim, bits),
        lambda: residues.prepare(x, dim, bits, op),
        op,
        lambda: residues.prepare(x, dim, bits, op, lambda count: room.of(dim, count)),
    )


def _blocks(a: Tensor, b: Tensor) -> Tensor:
    multiply = torch.mm if a.dim() == 2 else torch.bmm
    k = a.shape[-1]
    if k <= BLOCK:
        return multiply(a, b)
    total = multiply(a[..., :BLOCK], b[..., :BLOCK, :])
    for start in range(BLOCK, k, BLOCK):
        total.add_(multiply(a[..., start : start + BLOCK], b[..., start : start + BLOCK, :]))
    return total


def settle(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Round a fresh float64 tensor once to `dtype` and give zeros their positive sign. May reuse the memory of `x`."""
    if dtype == torch.float32:
        return _single(x)
    return x.to(dtype).add_(0.0)


@fused("grids.settle", torch.float64)
def _single(x: Tensor) -> Tensor:
    return x.to(torch.float32).add_(0.0)
