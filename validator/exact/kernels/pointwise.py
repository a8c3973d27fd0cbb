"""Loops over the elements of tensors, and the functions of functions.py as such loops.

Tensors are walked in the order of memory, so that a transposed or a channels-last one costs what a plain one does.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from validator.exact.kernels import scalar
from validator.exact.kernels.build import Array, Kernel, Scalar, kernel
from validator.exact.kernels.parallel import split
from validator.exact.kernels.scalar import like

_WORK = 4
"""Elementary steps (see `split`) that a transcendental function is worth."""


def over_one(element: Callable[..., Scalar]) -> Kernel:
    """The kernel out[i] = element(x[i], *p), in the dtype of x."""

    @kernel
    def run(x: Array, out: Array, p: Array) -> None:
        for i in range(x.size):
            out[i] = element(x[i], *p)

    return run


def over_two(element: Callable[..., Scalar]) -> Kernel:
    """The kernel out[i] = element(x[i], y[i], *p)."""

    @kernel
    def run(x: Array, y: Array, out: Array, p: Array) -> None:
        for i in range(x.size):
            out[i] = element(x[i], y[i], *p)

    return run


def _widened(element: Callable[..., Scalar]) -> Kernel:
    """The kernel of a float64 function: float64 as it comes, float32 rounded once with zeros positive."""

    @kernel
    def run(x: Array, out: Array) -> None:
        zero = like(-0.0, out[0]) if out.itemsize == 8 else like(0.0, out[0])
        for i in range(x.size):
            out[i] = like(element(np.float64(x[i])), x[i]) + zero

    return run


def dense(x: Tensor, model: Tensor) -> Tensor:
    """`x` in the strides of `model`, which has no gaps and the same shape; copied if it has others."""
    return x if x.stride() == model.stride() else torch.empty_like(model).copy_(x)


def flat(x: Tensor) -> Array:
    """The elements of a tensor without gaps as a vector, in the order of memory."""
    plain = x.detach()
    if plain.is_contiguous():
        return plain.numpy().reshape(-1)
    return plain.as_strided((x.numel(),), (1,)).numpy()


def unary(run: Kernel, x: Tensor, *p: float) -> Tensor:
    """A new tensor in the strides that torch's own elementwise operators would give it."""
    out = torch.empty_like(x)
    source, target = flat(dense(x, out)), flat(out)
    split(x.numel(), _WORK, lambda start, stop: run(source[start:stop], target[start:stop], p))
    return out


def binary(run: Kernel, grad: Tensor, x: Tensor, *p: float) -> Tensor | None:
    """A new tensor in the strides of `x`; None for operands that differ in shape (as under vmap) or dtype."""
    if grad.shape != x.shape or grad.dtype != x.dtype:
        return None
    out = torch.empty_like(x)
    first, second, target = flat(dense(grad, out)), flat(dense(x, out)), flat(out)
    split(x.numel(), _WORK, lambda start, stop: run(first[start:stop], second[start:stop], target[start:stop], p))
    return out


def _function(element: Callable[..., Scalar]) -> Callable[[Tensor], Tensor]:
    run = _widened(element)

    def entry(x: Tensor) -> Tensor:
        out = torch.empty_like(x)
        source, target = flat(dense(x, out)), flat(out)
        split(x.numel(), _WORK, lambda start, stop: run(source[start:stop], target[start:stop]))
        return out

    return entry


exp = _function(scalar.exp)
expm1 = _function(scalar.expm1)
sigmoid = _function(scalar.sigmoid)
tanh = _function(scalar.tanh)
log = _function(scalar.log)
log1p = _function(scalar.log1p)
softplus = _function(scalar.softplus)
erf = _function(scalar.erf)
erfc = _function(scalar.erfc)
sqrt = _function(scalar.sqrt)
rsqrt = _function(scalar.rsqrt)
sin = _function(scalar.sin)
cos = _function(scalar.cos)


@kernel
def _turns(u: Array, cosine: Array, sine: Array) -> None:
    for i in range(u.size):
        cosine[i], sine[i] = scalar.cos_sin_turns(u[i])


def cos_sin_turns(u: Tensor) -> tuple[Tensor, Tensor]:
    """functions.cos_sin_turns."""
    results = torch.empty_like(u), torch.empty_like(u)
    arrays = [flat(dense(u, results[0])), *map(flat, results)]
    split(u.numel(), _WORK, lambda start, stop: _turns(*(a[start:stop] for a in arrays)))
    return results
