"""Sums that no order can change: every element on one power-of-two grid, so that the sum is one of integers.

For n elements up to 4096 the grid has b = min(51, 53 - ceil(log2 n)) bits and float64 adds the integers exactly. For
more, b = min(51, 62 - ceil(log2 n)) and int64 adds them. b depends on n alone; the grid on the summed elements alone
(not on their order, nor on other slices of the tensor). Error: |S - sum| <= n * 2^-b * max|x| before the rounding at
the end, that is 2^-29 max|x| at n = 4096 and 2^-22 max|x| at a million. float64 input takes a second, finer grid for
what the first rounds away: n * 2^-2b.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from validator.exact.fused import fused
from validator.exact.products import settle
from validator.exact.scaling import ceil_log2, grid, largest, snap

SMALL = 4096


def sum_bits(n: int) -> int:
    """b: grid bits for a sum of n elements."""
    return min(51, (53 if n <= SMALL else 62) - ceil_log2(n))


def normal_dims(dims: Sequence[int] | None, rank: int) -> tuple[int, ...]:
    """Dimensions as non-negative numbers; None or nothing means all of them, as in torch."""
    if not dims:
        return tuple(range(rank))
    return tuple(sorted(d % rank if rank else 0 for d in dims)) if rank else ()


def count(shape: Sequence[int], dims: Sequence[int]) -> int:
    """How many elements one sum over `dims` adds."""
    return math.prod(shape[d] for d in dims)


def total(x: Tensor, dims: Sequence[int] | None, keepdim: bool, op: str, fine: bool | None = None) -> Tensor:
    """The sum over `dims` of float32 or float64, in float64, not yet rounded to the working dtype. Raises NonFinite.

    `fine` asks for the second grid; by default float64 gets it. Intermediates of a float32 computation need only one.
    """
    over = normal_dims(dims, x.dim())
    n = count(x.shape, over)
    if x.numel() == 0 or not over:
        return x.sum(over, keepdim=keepdim, dtype=torch.float64) if over else x.to(torch.float64, copy=True)
    return _total(x, over, keepdim, sum_bits(n), x.dtype == torch.float64 if fine is None else fine, op)


@fused("grids.total")
def _total(x: Tensor, over: tuple[int, ...], keepdim: bool, bits: int, fine: bool, op: str) -> Tensor:
    n = count(x.shape, over)
    magic = grid(largest(x, over, op), bits)
    coarse = _add_up(x, magic, over, keepdim, n)
    if not fine:
        return coarse
    rest = torch.sub(x, snap(x, magic))
    return _add_up(rest, magic * (1.0 / (1 << bits)), over, keepdim, n).add_(coarse)


def _add_up(x: Tensor, magic: Tensor, dims: tuple[int, ...], keepdim: bool, n: int) -> Tensor:
    if n <= SMALL:
        return snap(x, magic).sum(dims, keepdim=keepdim)
    # x + M and M share an exponent, so the difference of their bit patterns is the integer number of units.
    bits = x.to(torch.float64, copy=True).add_(magic).view(torch.int64)
    units = bits.sub_(magic.view(torch.int64)).sum(dims, keepdim=keepdim)
    # The exponent field of M = 1.5 * 2^52 units, less 52, is that of the unit.
    unit = magic.view(torch.int64).bitwise_and(0x7FF << 52).sub_(52 << 52).view(torch.float64)
    return units.to(torch.float64).mul_(unit if keepdim else unit.squeeze(dims))


def exact_sum(x: Tensor, dims: Sequence[int] | None, keepdim: bool, dtype: torch.dtype, op: str) -> Tensor:
    """The sum over `dims`, rounded once to `dtype`."""
    if x.dtype == dtype == torch.float32 and x.numel() and (over := normal_dims(dims, x.dim())):
        return _single(x, over, keepdim, sum_bits(count(x.shape, over)), 1, op)
    return settle(total(x, dims, keepdim, op), dtype)


def exact_mean(x: Tensor, dims: Sequence[int] | None, keepdim: bool, dtype: torch.dtype, op: str) -> Tensor:
    """The sum over `dims`, one float64 division by their number, rounded once to `dtype`."""
    over = normal_dims(dims, x.dim())
    n = count(x.shape, over)
    if x.dtype == dtype == torch.float32 and x.numel() and over:
        return _single(x, over, keepdim, sum_bits(n), n, op)
    return settle(divide(total(x, dims, keepdim, op), n), dtype)


@fused("grids.single", torch.float32)
def _single(x: Tensor, over: tuple[int, ...], keepdim: bool, bits: int, by: int, op: str) -> Tensor:
    """A sum of float32 over `by`, in float32."""
    found = _total(x, over, keepdim, bits, False, op)
    return settle(found if by == 1 else divide(found, by), torch.float32)


def divide(x: Tensor, by: float) -> Tensor:
    """x / by as a true division: a Python scalar would become a multiplication by the reciprocal on CUDA."""
    return torch.div(x, torch.full((), by, dtype=x.dtype, device=x.device))
