"""Layer normalisation and its backward (compound.py), row by row as in rows.py."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import triton.language as tl
from torch import Tensor

from validator.exact.kernels.cuda import scalar
from validator.exact.kernels.cuda.grids import magic_bits, magnitude, rest_units, units
from validator.exact.kernels.cuda.launch import jit
from validator.exact.kernels.cuda.layout import dense
from validator.exact.kernels.cuda.rows import MOST_BITS, each_row, row_sum, wide
from validator.exact.kernels.cuda.scalar import settled


@jit
def _size(n: tl.tensor) -> tl.tensor:
    """A size as float64; it may be a constant, which has no dtype to convert from."""
    return (tl.zeros([], tl.int64) + n).to(tl.float64)


@jit
def _term(x: tl.tensor, at: tl.tensor, n: tl.tensor, mean: tl.tensor, squared: tl.constexpr) -> tl.tensor:
    """What the statistics add up: x, or (x - mean)^2."""
    value = wide(x, at, n)
    if squared:
        gap = value - mean
        value = tl.where(at < n, gap * gap, 0.0)
    return value


@jit
def _mean(
    x: tl.tensor, mean: tl.tensor, n: tl.tensor, lift: tl.tensor, step: tl.tensor,
    squared: tl.constexpr, fine: tl.constexpr, block: tl.constexpr,
) -> tl.tensor:  # fmt: skip
    """The mean of the terms of a row, and the bits of the largest magnitude among them."""
    top = tl.zeros([block], tl.int64)
    for first in range(0, n, block):
        top = tl.maximum(top, magnitude(_term(x, first + tl.arange(0, block), n, mean, squared)))
    largest = tl.max(top, 0)
    magic = magic_bits(largest, lift)
    count, rest = tl.zeros([block], tl.int64), tl.zeros([block], tl.int64)
    for first in range(0, n, block):
        term = _term(x, first + tl.arange(0, block), n, mean, squared)
        count += units(term, magic)
        if fine:
            rest += rest_units(term, magic, magic - step)
    return row_sum(count, rest, magic, step, fine) / _size(n), largest


@jit
def _layer_norm(
    x: tl.tensor, weight: tl.tensor, bias: tl.tensor, out: tl.tensor, means: tl.tensor, scales: tl.tensor,
    refused: tl.tensor, n: int, lift: int, step: int,
    eps: tl.constexpr, has_weight: tl.constexpr, has_bias: tl.constexpr, fine: tl.constexpr, block: tl.constexpr,
) -> None:  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    x += row * n
    out += row * n
    mean, largest = _mean(x, tl.zeros([], tl.float64), n, lift, step, False, fine, block)
    variance, spread = _mean(x, mean, n, lift, step, True, fine, block)
    scale = scalar.rsqrt(variance + eps)
    tl.store(refused, 1, mask=(largest >= MOST_BITS) | (spread >= MOST_BITS))
    tl.store(means + row, settled(mean, means))
    tl.store(scales + row, settled(scale, scales))
    for first in range(0, n, block):
        at = first + tl.arange(0, block)
        result = settled((wide(x, at, n) - mean) * scale, out)
        if has_weight:
            result = result * tl.load(weight + at, mask=at < n, other=0.0)
        if has_bias:
            result = result + tl.load(bias + at, mask=at < n, other=0.0)
        tl.store(out + at, result, mask=at < n)


@jit
def _inner(grad: tl.tensor, weight: tl.tensor, at: tl.tensor, n: tl.tensor, has_weight: tl.constexpr) -> tl.tensor:
    """The gradient behind the weight, a product in the working dtype."""
    g = tl.load(grad + at, mask=at < n, other=0.0)
    if has_weight:
        g = g * tl.load(weight + at, mask=at < n, other=0.0)
    return g.to(tl.float64)


@jit
def _normal(x: tl.tensor, at: tl.tensor, n: tl.tensor, mean: tl.tensor, scale: tl.tensor) -> tl.tensor:
    """The normalised input."""
    return tl.where(at < n, (wide(x, at, n) - mean) * scale, 0.0)


@jit
def _means_of_gradient(
    grad: tl.tensor, x: tl.tensor, weight: tl.tensor, mean: tl.tensor, scale: tl.tensor,
    n: tl.tensor, lift: tl.tensor, step: tl.tensor,
    has_weight: tl.constexpr, fine: tl.constexpr, block: tl.constexpr,
) -> tl.tensor:  # fmt: skip
    """The means of g and of g y over a row, y the normalised input, and the bits of the largest magnitudes of both."""
    top_g, top_y = tl.zeros([block], tl.int64), tl.zeros([block], tl.int64)
    for first in range(0, n, block):
        at = first + tl.arange(0, block)
        g = _inner(grad, weight, at, n, has_weight)
        top_g = tl.maximum(top_g, magnitude(g))
        top_y = tl.maximum(top_y, magnitude(g * _normal(x, at, n, mean, scale)))
    largest_g, largest_y = tl.max(top_g, 0), tl.max(top_y, 0)
    magic_g, magic_y = magic_bits(largest_g, lift), magic_bits(largest_y, lift)
    count_g, rest_g = tl.zeros([block], tl.int64), tl.zeros([block], tl.int64)
    count_y, rest_y = tl.zeros([block], tl.int64), tl.zeros([block], tl.int64)
    for first in range(0, n, block):
        at = first + tl.arange(0, block)
        g = _inner(grad, weight, at, n, has_weight)
        product = g * _normal(x, at, n, mean, scale)
        count_g += units(g, magic_g)
        count_y += units(product, magic_y)
        if fine:
            rest_g += rest_units(g, magic_g, magic_g - step)
            rest_y += rest_units(product, magic_y, magic_y - step)
    level = row_sum(count_g, rest_g, magic_g, step, fine) / _size(n)
    along = row_sum(count_y, rest_y, magic_y, step, fine) / _size(n)
    return level, along, largest_g, largest_y


@jit
def _layer_norm_backward(
    grad: tl.tensor, x: tl.tensor, means: tl.tensor, scales: tl.tensor, weight: tl.tensor,
    out: tl.tensor, shares: tl.tensor, refused: tl.tensor, n: int, lift: int, step: int,
    has_weight: tl.constexpr, has_shares: tl.constexpr, fine: tl.constexpr, block: tl.constexpr,
) -> None:  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    grad += row * n
    x += row * n
    narrow_mean, narrow_scale = tl.load(means + row), tl.load(scales + row)
    mean, scale = narrow_mean.to(tl.float64), narrow_scale.to(tl.float64)
    level, along, largest_g, largest_y = _means_of_gradient(
        grad, x, weight, mean, scale, n, lift, step, has_weight, fine, block
    )
    tl.store(refused, 1, mask=(largest_g >= MOST_BITS) | (largest_y >= MOST_BITS))
    for first in range(0, n, block):
        at = first + tl.arange(0, block)
        g = _inner(grad, weight, at, n, has_weight)
        result = ((g - level) - _normal(x, at, n, mean, scale) * along) * scale
        tl.store(out + row * n + at, settled(result, out), mask=at < n)
        if has_shares:
            gap = tl.load(x + at, mask=at < n, other=0.0) - narrow_mean
            share = tl.load(grad + at, mask=at < n, other=0.0) * (gap * narrow_scale)
            tl.store(shares + row * n + at, share, mask=at < n)


def layer_norm(
    x: Tensor, shape: Sequence[int], weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor] | None:
    """compound.layer_norm."""
    affine = [p for p in (weight, bias) if p is not None]
    if any(p.shape != tuple(shape) or p.dtype != x.dtype for p in affine):
        return None
    source = x.detach().contiguous().view(-1, math.prod(shape))
    out, (means, scales) = torch.empty_like(source), source.new_empty((2, source.shape[0])).unbind()
    parameters = [source if p is None else p.detach().contiguous() for p in (weight, bias)]
    present = {"has_weight": weight is not None, "has_bias": bias is not None}
    arguments = (source, *parameters, out, means, scales)
    each_row(_layer_norm, source, arguments, "aten.native_layer_norm", eps=float(eps), **present)
    statistics = (*x.shape[: x.dim() - len(shape)], *(1,) * len(shape))
    return dense(out.view(x.shape), torch.empty_like(x)), means.view(statistics), scales.view(statistics)


def layer_norm_gradients(
    grad: Tensor, x: Tensor, rank: int, mean: Tensor, scale: Tensor, weight: Tensor | None, shares: bool
) -> tuple[Tensor, Tensor | None] | None:
    """compound._layer_norm_gradients."""
    n = math.prod(x.shape[x.dim() - rank :])
    count = x.numel() // n
    if grad.shape != x.shape or mean.numel() != count or scale.numel() != count:
        return None
    if any(p is not None and p.dtype != x.dtype for p in (grad, mean, scale, weight)):
        return None
    source = x.detach().contiguous().view(count, n)
    given = [p.detach().contiguous() for p in (mean, scale, source if weight is None else weight)]
    out, parts = torch.empty_like(source), source.new_empty(source.shape if shares else (0, n))
    arguments = (grad.detach().contiguous(), source, *given, out, parts if shares else out)
    present = {"has_weight": weight is not None, "has_shares": shares}
    each_row(_layer_norm_backward, source, arguments, "aten.native_layer_norm_backward", **present)
    return dense(out.view(x.shape), torch.empty_like(grad)), parts.view(x.shape) if shares else None
