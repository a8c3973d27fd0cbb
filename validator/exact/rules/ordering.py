"""Sorting and the largest elements, with ties settled by position: of equal elements the first comes first.

torch.topk and plain torch.sort leave ties open, and devices differ. A float32 number and its index fit one int64 whose
order is that of the pair: such keys cannot tie, so whatever algorithm selects among them finds the same elements.
"""

from __future__ import annotations

import torch
from torch import Tensor

_NARROW = (torch.float32, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)
"""What leaves room for an index beside it in 64 bits. The rest is sorted."""
_LONGEST = 1 << 31


def sort(x: Tensor, dim: int = -1, descending: bool = False) -> tuple[Tensor, Tensor]:
    """aten.sort, always stable: equal elements keep their order."""
    values, order = torch.sort(x, dim=dim, descending=descending, stable=True)
    return values, order


def sort_stable(x: Tensor, *, stable: bool | None, dim: int = -1, descending: bool = False) -> tuple[Tensor, Tensor]:
    """aten.sort.stable; stable whatever was asked for."""
    return sort(x, dim, descending)


def top_k(x: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> tuple[Tensor, Tensor]:
    """aten.topk: of equal elements the first wins, and results are in order. -0 and 0 are equal, NaN the largest."""
    if x.dtype not in _NARROW or not x.dim() or not x.numel() or x.shape[dim] >= _LONGEST:
        values, order = sort(x, dim, largest)
        return _first(values, k, dim), _first(order, k, dim)
    size = x.shape[dim]
    place = torch.arange(size, device=x.device)
    # Among equal values the largest key is wanted at the lowest index, or the smallest.
    tie = (place.neg().add_(size - 1) if largest else place).view(-1, *(1,) * (x.dim() - 1 - dim % x.dim()))
    keys = torch.topk(_rank(x).bitwise_left_shift_(32).add_(tie), k, dim, largest, sorted=True).values
    found = keys.bitwise_and_(0xFFFFFFFF)
    order = found.neg_().add_(size - 1) if largest else found
    return x.gather(dim, order), order


def _rank(x: Tensor) -> Tensor:
    """int64 numbers of 32 bits in the order of the values."""
    if x.dtype != torch.float32:
        return x.to(torch.int64)
    # Adding 0 makes -0 positive. Below zero, larger bit patterns are smaller numbers: turn all bits but the sign.
    bits = torch.add(x, 0.0).view(torch.int32)
    rank = torch.bitwise_xor(bits, torch.bitwise_right_shift(bits, 31).bitwise_and_(0x7FFFFFFF)).to(torch.int64)
    return rank.masked_fill_(torch.isnan(x), 0x7FFFFFFF)


def _first(x: Tensor, k: int, dim: int) -> Tensor:
    return x.narrow(dim, 0, k).contiguous() if x.dim() else x
