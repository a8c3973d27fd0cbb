"""Tensors as a kernel walks them: side by side in memory, copied only where need be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Slices:
    """A tensor as (outer, n, inner) in row order: a slice is x[o, :, i].

    `order` says which dimension of the tensor stands where, and `shape` how large they are then.
    """

    array: Tensor
    order: tuple[int, ...]
    shape: tuple[int, ...]


def slices(x: Tensor, dims: Sequence[int]) -> Slices:
    """`dims`: non-negative, ascending, at least one; `x` not empty. Copies only what is not dense in memory."""
    reduced = set(dims)
    order = tuple(sorted(range(x.dim()), key=lambda d: (x.shape[d] != 1, -x.stride()[d])))
    dense_ = x.permute(order)
    places = [i for i, d in enumerate(order) if d in reduced and x.shape[d] != 1]
    together = not places or places[-1] - places[0] == len(places) - 1
    if not (together and dense_.is_contiguous()):
        order = (*(d for d in range(x.dim()) if d not in reduced), *dims)
        dense_ = x.permute(order).contiguous()
        places = list(range(x.dim() - len(dims), x.dim()))
    outer = math.prod(dense_.shape[: places[0]]) if places else dense_.numel()
    n = math.prod(dense_.shape[i] for i in places)
    return Slices(dense_.detach().reshape(outer, n, -1), order, tuple(dense_.shape))


def rows(x: Tensor, dims: Sequence[int]) -> tuple[Tensor, tuple[int, ...]]:
    """`x` as rows over `dims`, (rows, n), copied where need be, and the order of dimensions that it has then."""
    order = (*(d for d in range(x.dim()) if d not in dims), *dims)
    n = math.prod(x.shape[d] for d in dims)
    return x.detach().permute(order).contiguous().view(-1, n), order


def back(x: Tensor, order: Sequence[int]) -> Tensor:
    """Undo the permutation `order`."""
    return x.permute([order.index(d) for d in range(len(order))])


def dense(x: Tensor, model: Tensor) -> Tensor:
    """`x` in the strides of `model`, which has no gaps and the same shape; copied if it has others."""
    return x if x.stride() == model.stride() else torch.empty_like(model).copy_(x)
