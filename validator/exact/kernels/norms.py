"""Layer normalisation and its backward (compound.py), row by row as in rows.py."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from validator.exact.kernels import scalar
from validator.exact.kernels.build import Array, kernel
from validator.exact.kernels.pointwise import dense
from validator.exact.kernels.rows import MOST, checked, scratch, top_of, total_of
from validator.exact.kernels.scalar import settled
from validator.exact.kernels.units import magnitude, wide_bits
from validator.exact.sums import sum_bits


@kernel
def _layer_norm(
    x: Array,
    weight: Array,
    bias: Array,
    eps: float,
    out: Array,
    means: Array,
    scales: Array,
    grid_bits: int,
    fine: bool,
) -> bool:
    finite = True
    n = np.float64(x.shape[1])
    centred, squares = scratch(x), scratch(x)
    for row in range(x.shape[0]):
        values, result = x[row], out[row]
        top = magnitude(values[0])
        for j in range(values.size):
            top = max(top, magnitude(values[j]))
        finite &= wide_bits(top) < MOST
        mean = total_of(values, wide_bits(top), grid_bits, fine) / n
        for j in range(values.size):
            centred[j] = np.float64(values[j]) - mean
            squares[j] = centred[j] * centred[j]
        spread = top_of(squares)
        finite &= spread < MOST
        scale = scalar.rsqrt(total_of(squares, spread, grid_bits, fine) / n + eps)
        for j in range(values.size):
            result[j] = settled(centred[j] * scale, values[j])
        if weight.size > 0:
            for j in range(values.size):
                result[j] = result[j] * weight[j]
        if bias.size > 0:
            for j in range(values.size):
                result[j] = result[j] + bias[j]
        means[row], scales[row] = settled(mean, values[0]), settled(scale, values[0])
    return finite


@kernel
def _layer_norm_backward(
    grad: Array,
    x: Array,
    means: Array,
    scales: Array,
    weight: Array,
    out: Array,
    shares: Array,
    grid_bits: int,
    fine: bool,
) -> bool:
    """Into `out` the gradient of the input; into `shares`, if it has rows, each row's part of that of the weight."""
    finite = True
    n = np.float64(x.shape[1])
    inner, normal, products = scratch(x), scratch(x), scratch(x)
    for row in range(x.shape[0]):
        g, values, result = grad[row], x[row], out[row]
        mean, scale = np.float64(means[row]), np.float64(scales[row])
        for j in range(g.size):
            inner[j] = np.float64(g[j])
        if weight.size > 0:
            for j in range(g.size):
                inner[j] = np.float64(g[j] * weight[j])
        for j in range(g.size):
            normal[j] = (np.float64(values[j]) - mean) * scale
            products[j] = inner[j] * normal[j]
        top, spread = top_of(inner), top_of(products)
        finite &= (top < MOST) & (spread < MOST)
        along = total_of(products, spread, grid_bits, fine) / n
        level = total_of(inner, top, grid_bits, fine) / n
        for j in range(g.size):
            result[j] = settled(((inner[j] - level) - normal[j] * along) * scale, g[j])
        if shares.shape[0] > 0:
            for j in range(g.size):
                shares[row, j] = g[j] * ((values[j] - means[row]) * scales[row])
    return finite


def layer_norm(
    x: Tensor, shape: Sequence[int], weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor] | None:
    """compound.layer_norm."""
    affine = [p for p in (weight, bias) if p is not None]
    if any(p.shape != tuple(shape) or p.dtype != x.dtype for p in affine):
        return None
    source = x.detach().contiguous().view(-1, math.prod(shape)).numpy()
    rows, n = source.shape
    out, (means, scales) = torch.empty(x.shape, dtype=x.dtype), torch.empty((2, rows), dtype=x.dtype)
    into, middle, width = out.numpy().reshape(rows, n), means.numpy(), scales.numpy()
    w, b, fine = _vector(weight, x), _vector(bias, x), x.dtype == torch.float64

    def run(start: int, stop: int) -> bool:
        cut = slice(start, stop)
        return bool(_layer_norm(source[cut], w, b, float(eps), into[cut], middle[cut], width[cut], sum_bits(n), fine))

    checked(rows, n, run, "aten.native_layer_norm")
    statistics = (*x.shape[: x.dim() - len(shape)], *(1,) * len(shape))
    return dense(out, torch.empty_like(x)), means.view(statistics), scales.view(statistics)


def layer_norm_gradients(
    grad: Tensor, x: Tensor, rank: int, mean: Tensor, scale: Tensor, weight: Tensor | None, shares: bool
) -> tuple[Tensor, Tensor | None] | None:
    """compound._layer_norm_gradients."""
    n = math.prod(x.shape[x.dim() - rank :])
    rows = x.numel() // n
    if grad.shape != x.shape or mean.numel() != rows or scale.numel() != rows:
        return None
    if any(p is not None and p.dtype != x.dtype for p in (grad, mean, scale, weight)):
        return None
    each = [p.detach().contiguous().view(rows, n).numpy() for p in (grad, x)]
    each += [p.detach().contiguous().view(rows).numpy() for p in (mean, scale)]
    out, parts = torch.empty_like(x, memory_format=torch.contiguous_format), x.new_empty((rows if shares else 0, n))
    into, share, w, fine = out.numpy().reshape(rows, n), parts.numpy(), _vector(weight, x), x.dtype == torch.float64

    def run(start: int, stop: int) -> bool:
        cut = slice(start, stop)
        return bool(_layer_norm_backward(*(a[cut] for a in each), w, into[cut], share[cut], sum_bits(n), fine))

    checked(rows, n, run, "aten.native_layer_norm_backward")
    return dense(out, torch.empty_like(grad)), parts.view(x.shape) if shares else None


def _vector(parameter: Tensor | None, model: Tensor) -> Array:
    """A weight as a vector; an empty one where there is none."""
    return (model.new_empty(0) if parameter is None else parameter.detach().contiguous().view(-1)).numpy()
