"""Additions into slots that several sources may share: gathers' backwards, embeddings' gradients, index_add.

Every slot gets its own grid from the largest of its sources, with 53 - 20 = 33 bits for up to 2^20 sources: the float64
atomic additions of a GPU then add integers, and no order changes a sum. Error of a slot: at most its number of sources
times 2^-33 of its largest source (2^-66 for float64, which takes a second grid).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from validator.exact.errors import UnsupportedOp
from validator.exact.fused import fused
from validator.exact.products import settle
from validator.exact.scaling import grid, largest, snap

_MOST = 1 << 20
"""Sources on one slot; more are refused, so that the grid's bits never depend on the rest of the call."""
_BITS = 53 - 20


def _accumulate(slots: int, index: Tensor, source: Tensor, op: str) -> Tensor:
    """float64 (slots,) with the sources (n,) added at `index` (n,). Raises NonFinite, UnsupportedOp."""
    if not source.numel():
        return source.new_zeros(slots, dtype=torch.float64)
    largest(source, (0,), op)
    if source.numel() > _MOST and torch.bincount(index).max().item() > _MOST:
        raise UnsupportedOp(op, f"more than {_MOST} values are added into one slot")
    return _into_slots(source, index, slots, _BITS, source.dtype == torch.float64)


@fused("slots.accumulate")
def _into_slots(source: Tensor, index: Tensor, slots: int, bits: int, fine: bool) -> Tensor:
    rest = source.to(torch.float64)
    result = rest.new_zeros(slots)
    top = rest.new_full((slots,), 2.0**-400).scatter_reduce_(0, index, rest.abs(), "amax")
    magic = grid(top, bits)[index]
    for _ in range(2 if fine else 1):
        part = snap(rest, magic)
        result.add_(rest.new_zeros(slots).scatter_add_(0, index, part))
        rest, magic = torch.sub(rest, part), magic * (1.0 / (1 << bits))
    return result


def _added(base: Tensor, slots: Tensor) -> Tensor:
    return settle(slots.view(base.shape).add_(base), base.dtype)


def _positions(base: Tensor) -> Tensor:
    return torch.arange(base.numel(), device=base.device).view(base.shape)


def scatter_add(base: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """aten.scatter_add."""
    if not base.dtype.is_floating_point:
        return torch.scatter_add(base, dim, index, source)
    place, values = _addressed(base, dim, index, source)
    return _added(base, _accumulate(base.numel(), place, values, "aten.scatter_add"))


def scatter(base: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """aten.scatter.src: of values put in one place the last in row order stays (torch leaves that open)."""
    return _put_last(base, *_addressed(base, dim, index, source))


def _addressed(base: Tensor, dim: int, index: Tensor, source: Tensor) -> tuple[Tensor, Tensor]:
    """Flat positions in `base` that scatter addresses, and the values for them: two vectors."""
    source = source[tuple(slice(0, size) for size in index.shape)] if index.dim() else source
    axis = dim % max(base.dim(), 1)
    # Positions of the hyperplane 0 of `axis`, cut to the index, plus the step along it.
    start = _positions(base).select(axis, 0).unsqueeze(axis) if base.dim() else _positions(base)
    start = start[tuple(slice(0, 1 if d == axis else size) for d, size in enumerate(index.shape))]
    place = start + index * math.prod(base.shape[axis + 1 :])
    return place.flatten(), source.flatten()


def index_put(base: Tensor, indices: Sequence[Tensor | None], values: Tensor, accumulate: bool = False) -> Tensor:
    """aten.index_put. Without accumulation, of values put in one place the last in row order stays."""
    place = _places(base, indices)
    source = values.expand(place.shape)
    if not accumulate:
        return _put_last(base, place.flatten(), source.flatten())
    if not base.dtype.is_floating_point:
        return torch.index_put(base, list(indices), values, accumulate=True)
    return _added(base, _accumulate(base.numel(), place.flatten(), source.flatten(), "aten.index_put"))


def _places(base: Tensor, indices: Sequence[Tensor | None]) -> Tensor:
    """Flat positions that the indices address, in the shape that the values broadcast to."""
    return torch.ops.aten.index.Tensor(_positions(base), list(indices))  # type: ignore[no-any-return]


def _put_last(base: Tensor, place: Tensor, values: Tensor) -> Tensor:
    if not values.numel():
        return base.clone()
    # Which write wins a collision is open in torch. Here the one that comes last does: amax of the writers' numbers.
    writer = torch.full((base.numel(),), -1, device=base.device)
    writer.scatter_reduce_(0, place, torch.arange(place.numel(), device=base.device), "amax")
    writer = writer.view(base.shape)
    return torch.where(writer >= 0, values[writer.clamp(min=0)], base)


def index_put_in_place(
    base: Tensor, indices: Sequence[Tensor | None], values: Tensor, accumulate: bool = False, unsafe: bool = False
) -> Tensor:
    """aten._index_put_impl_."""
    return base.copy_(index_put(base, indices, values, accumulate))


def index_add(base: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: float = 1) -> Tensor:
    """aten.index_add."""
    if alpha != 1:
        source = torch.mul(source, alpha)
    shape = [1] * source.dim()
    shape[dim] = -1
    return scatter_add(base, dim, index.view(shape).expand(source.shape), source)


def index_copy(base: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """aten.index_copy: of slices put in one place the last stays."""
    shape = [1] * source.dim()
    if shape:
        shape[dim] = -1
    return scatter(base, dim, index.view(shape).expand(source.shape), source)


def unfold_backward(grad: Tensor, sizes: Sequence[int], dim: int, size: int, step: int) -> Tensor:
    """aten.unfold_backward: the elements of frames that overlap are added."""
    shape = tuple(sizes)
    place = torch.arange(math.prod(shape), device=grad.device).view(shape).unfold(dim, size, step)
    slots = _accumulate(math.prod(shape), place.flatten(), grad.flatten(), "aten.unfold_backward")
    return settle(slots.view(shape), grad.dtype)


def embedding_backward(
    grad: Tensor, indices: Tensor, num_weights: int, padding_idx: int, scale_grad_by_freq: bool
) -> Tensor:
    """aten.embedding_dense_backward: (num_weights, width). Scaling by frequency divides by an exact count."""
    width = grad.shape[-1]
    rows = indices.flatten()
    zero = torch.zeros((), dtype=grad.dtype, device=grad.device)
    kept = torch.where((rows == padding_idx).unsqueeze(1), zero, grad.reshape(-1, width))
    result = index_add(grad.new_zeros(num_weights, width), 0, rows, kept)
    if not scale_grad_by_freq:
        return result
    counts = torch.bincount(rows, minlength=num_weights).clamp_(min=1).to(grad.dtype)
    return result.div_(counts.unsqueeze(1))
