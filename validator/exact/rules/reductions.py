"""Sums, means, variances and norms as aten names them. Integers and booleans are exact as torch has them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from validator.exact import functions
from validator.exact.errors import UnsupportedOp
from validator.exact.products import settle
from validator.exact.scaling import ceil_log2, grid, largest, snap
from validator.exact.sums import count, divide, exact_mean, exact_sum, normal_dims, total


def sum_all(x: Tensor, *, dtype: torch.dtype | None = None) -> Tensor:
    """aten.sum."""
    return sum_dims(x, None, dtype=dtype)


def sum_dims(
    x: Tensor, dim: Sequence[int] | None, keepdim: bool = False, *, dtype: torch.dtype | None = None
) -> Tensor:
    """aten.sum.dim_IntList."""
    x = x if dtype is None else x.to(dtype)  # torch, too, converts first
    if not x.dtype.is_floating_point:
        return torch.sum(x, normal_dims(dim, x.dim()), keepdim=keepdim, dtype=dtype)
    return exact_sum(x, dim, keepdim, dtype or x.dtype, "aten.sum")


def mean_all(x: Tensor, *, dtype: torch.dtype | None = None) -> Tensor:
    """aten.mean."""
    return mean_dims(x, None, dtype=dtype)


def mean_dims(
    x: Tensor, dim: Sequence[int] | None, keepdim: bool = False, *, dtype: torch.dtype | None = None
) -> Tensor:
    """aten.mean.dim."""
    x = x if dtype is None else x.to(dtype)
    if not x.dtype.is_floating_point:
        raise UnsupportedOp("aten.mean", f"{x.dtype} has no mean; convert to float32 first")
    return exact_mean(x, dim, keepdim, x.dtype, "aten.mean")


def _moments(
    x: Tensor, dim: Sequence[int] | None, correction: float | None, keepdim: bool, op: str
) -> tuple[Tensor, Tensor]:
    """(variance, mean) in float64: squares of the exact deviations, summed exactly."""
    dims = normal_dims(dim, x.dim())
    n = count(x.shape, dims)
    mean = divide(total(x, dims, True, op), n)
    gap = torch.sub(x.to(torch.float64), mean)
    squares = total(gap.mul_(gap), dims, keepdim, op, fine=x.dtype == torch.float64)
    degrees = n - (1.0 if correction is None else correction)
    return divide(squares, max(degrees, 0.0)), mean if keepdim else mean.squeeze(dims)


def variance(
    x: Tensor, dim: Sequence[int] | None = None, *, correction: float | None = None, keepdim: bool = False
) -> Tensor:
    """aten.var.correction."""
    return settle(_moments(x, dim, correction, keepdim, "aten.var")[0], x.dtype)


def variance_and_mean(
    x: Tensor, dim: Sequence[int] | None = None, *, correction: float | None = None, keepdim: bool = False
) -> tuple[Tensor, Tensor]:
    """aten.var_mean.correction."""
    spread, mean = _moments(x, dim, correction, keepdim, "aten.var_mean")
    return settle(spread, x.dtype), settle(mean, x.dtype)


def deviation(
    x: Tensor, dim: Sequence[int] | None = None, *, correction: float | None = None, keepdim: bool = False
) -> Tensor:
    """aten.std.correction."""
    return settle(functions.sqrt(_moments(x, dim, correction, keepdim, "aten.std")[0]), x.dtype)


def deviation_and_mean(
    x: Tensor, dim: Sequence[int] | None = None, *, correction: float | None = None, keepdim: bool = False
) -> tuple[Tensor, Tensor]:
    """aten.std_mean.correction."""
    spread, mean = _moments(x, dim, correction, keepdim, "aten.std_mean")
    return settle(functions.sqrt(spread), x.dtype), settle(mean, x.dtype)


def vector_norm(
    x: Tensor,
    order: float = 2,
    dim: Sequence[int] | None = None,
    keepdim: bool = False,
    *,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """aten.linalg_vector_norm of order 1, 2 or infinity."""
    op = "aten.linalg_vector_norm"
    x = x if dtype is None else x.to(dtype)
    if order == 1:
        return exact_sum(x.abs(), dim, keepdim, x.dtype, op)
    if order == 2:
        wide = x.to(torch.float64)
        squares = total(torch.mul(wide, wide), dim, keepdim, op, fine=x.dtype == torch.float64)
        return settle(functions.sqrt(squares), x.dtype)
    if order == torch.inf:
        return torch.amax(x.abs(), normal_dims(dim, x.dim()), keepdim=keepdim)
    raise UnsupportedOp(op, f"order {order} has no exact rule; 1, 2 and infinity have")


def cumulative_sum(x: Tensor, dim: int, *, dtype: torch.dtype | None = None) -> Tensor:
    """aten.cumsum: prefixes of integers on the grid of the whole slice, min(51, 53 - log2 n) bits."""
    x = x if dtype is None else x.to(dtype)
    if not x.dtype.is_floating_point or not x.numel():
        return torch.cumsum(x, dim)
    n = x.shape[dim] if x.dim() else 1
    bits = min(51, 53 - ceil_log2(n))
    magic = grid(largest(x, (dim,), "aten.cumsum"), bits)
    coarse = torch.cumsum(snap(x, magic), dim)
    if x.dtype == torch.float64:
        rest = torch.sub(x, snap(x, magic))
        coarse = torch.cumsum(snap(rest, magic * (1.0 / (1 << bits))), dim).add_(coarse)
    return settle(coarse, x.dtype)
