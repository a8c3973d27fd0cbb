"""Pooling by windows: maxima, means, and both over cells that divide an image as evenly as its size allows."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from validator.exact.products import settle
from validator.exact.rules.scatter import scatter_add
from validator.exact.rules.spatial import Window, fold, pair, windows
from validator.exact.sums import exact_mean, total


def max_pool(
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    dilation: Sequence[int] = (1,),
    ceil_mode: bool = False,
) -> tuple[Tensor, Tensor]:
    """aten.max_pool2d_with_indices: of equal maxima the first in row order wins; indices are into the H * W plane."""
    w = _window(kernel, stride, padding, dilation, ceil_mode)
    candidates = windows(x, w, -math.inf).flatten(-4, -3)
    best = candidates.argmax(-3, keepdim=True)
    values = candidates.gather(-3, best).squeeze(-3).add_(0.0)
    place = best.squeeze(-3)
    row = torch.arange(place.shape[-2], device=x.device).mul_(w.stride[0]).sub_(w.padding[0]).unsqueeze(-1)
    column = torch.arange(place.shape[-1], device=x.device).mul_(w.stride[1]).sub_(w.padding[1])
    row = row + (place // w.kernel[1]) * w.dilation[0]
    column = column + (place % w.kernel[1]) * w.dilation[1]
    return values, row.mul_(x.shape[-1]).add_(column)


def max_pool_backward(
    grad: Tensor,
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool,
    indices: Tensor,
) -> Tensor:
    """aten.max_pool2d_with_indices_backward: what overlapping windows chose alike is added in kernel order."""
    w = _window(kernel, stride, padding, dilation, ceil_mode)
    plane = torch.arange(x.shape[-2] * x.shape[-1], dtype=torch.float64, device=x.device).view(x.shape[-2:])
    chosen = windows(plane, w, -1.0) == indices.unsqueeze(-3).unsqueeze(-3)
    zero = torch.zeros((), dtype=torch.float64, device=x.device)
    columns = torch.where(chosen, grad.to(torch.float64).unsqueeze(-3).unsqueeze(-3), zero)
    return settle(fold(columns, w, x.shape[-2:]).contiguous(), x.dtype)


def average_pool(
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """aten.avg_pool2d: an exact sum of each window, one division."""
    w = _window(kernel, stride, padding, (1,), ceil_mode)
    sums = total(windows(x, w, 0.0), (-4, -3), False, "aten.avg_pool2d")
    return settle(sums.div_(_divisor(x, w, count_include_pad, divisor_override)), x.dtype)


def average_pool_backward(
    grad: Tensor,
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Tensor:
    """aten.avg_pool2d_backward: shares of overlapping windows are added in kernel order."""
    w = _window(kernel, stride, padding, (1,), ceil_mode)
    share = torch.div(grad.to(torch.float64), _divisor(x, w, count_include_pad, divisor_override))
    columns = share.unsqueeze(-3).unsqueeze(-3).expand(*share.shape[:-2], *w.kernel, *share.shape[-2:])
    return settle(fold(columns, w, x.shape[-2:]).contiguous(), x.dtype)


def adaptive_average_pool(x: Tensor, output_size: Sequence[int]) -> Tensor:
    """aten._adaptive_avg_pool2d: an exact sum of each cell, one division by its number of pixels."""
    op = "aten._adaptive_avg_pool2d"
    size = (output_size[0], output_size[1])
    if w := _even(x.shape[-2:], size):
        return exact_mean(windows(x, w, 0.0), (-4, -3), False, x.dtype, op)
    sums = total(_cells(x, size, 0.0), (-2, -1), False, op)
    return settle(sums.div_(_pixels(x.shape[-2:], size, x.device)), x.dtype)


def adaptive_average_pool_backward(grad: Tensor, x: Tensor) -> Tensor:
    """aten._adaptive_avg_pool2d_backward.

    The cells that hold one pixel are again a cell: the one of that pixel, were the output divided into pixels.
    """
    size, image = (grad.shape[-2], grad.shape[-1]), (x.shape[-2], x.shape[-1])
    if w := _even(image, size):
        return average_pool_backward(grad, x, w.kernel, w.stride, (0,), False, True, None)
    share = torch.div(grad.to(torch.float64), _pixels(image, size, x.device))
    op = "aten._adaptive_avg_pool2d_backward"
    return settle(total(_cells(share, image, 0.0), (-2, -1), False, op), x.dtype)


def adaptive_max_pool(x: Tensor, output_size: Sequence[int]) -> tuple[Tensor, Tensor]:
    """aten.adaptive_max_pool2d: of equal maxima of a cell the first in row order wins."""
    size = (output_size[0], output_size[1])
    if w := _even(x.shape[-2:], size):
        return max_pool(x, w.kernel, w.stride)
    candidates = _cells(x, size, -math.inf).flatten(-2)
    best = candidates.argmax(-1, keepdim=True)
    plane = torch.arange(x.shape[-2] * x.shape[-1], dtype=torch.float64, device=x.device).view(x.shape[-2:])
    place = _cells(plane, size, -1.0).flatten(-2).expand(candidates.shape).gather(-1, best)
    return candidates.gather(-1, best).squeeze(-1).add_(0.0), place.squeeze(-1).to(torch.int64)


def adaptive_max_pool_backward(grad: Tensor, x: Tensor, indices: Tensor) -> Tensor:
    """aten.adaptive_max_pool2d_backward: what several cells chose alike is added exactly."""
    if w := _even(x.shape[-2:], (grad.shape[-2], grad.shape[-1])):
        return max_pool_backward(grad, x, w.kernel, w.stride, (0,), (1,), False, indices)
    planes = scatter_add(torch.zeros_like(x).flatten(-2), -1, indices.flatten(-2), grad.flatten(-2))
    return planes.view(x.shape)


def _even(image: Sequence[int], size: tuple[int, int]) -> Window | None:
    """The window of cells that are all alike, if the output size divides the image."""
    if 0 in size or image[0] % size[0] or image[1] % size[1]:
        return None
    kernel = (image[0] // size[0], image[1] // size[1])
    return Window(kernel, kernel, (0, 0))


def _bounds(length: int, cells: int) -> list[tuple[int, int]]:
    """Where each cell begins and ends: floor(i length / cells) and ceil((i + 1) length / cells), as torch has it."""
    return [(i * length // cells, -(-(i + 1) * length // cells)) for i in range(cells)]


def _cells(x: Tensor, size: tuple[int, int], fill: float) -> Tensor:
    """(..., H, W) to (..., Ho, Wo, kh, kw): the pixels of each cell, `fill` in cells smaller than the largest."""
    rows, high = _members(x.shape[-2], size[0], x.device)
    columns, wide = _members(x.shape[-1], size[1], x.device)
    picked = x[..., rows[:, None, :, None], columns[None, :, None, :]]
    inside = high[:, None, :, None] & wide[None, :, None, :]
    return torch.where(inside, picked, torch.full((), fill, dtype=x.dtype, device=x.device))


def _members(length: int, cells: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """(indices, which of them belong), both (cells, largest cell)."""
    bounds = _bounds(length, cells)
    most = max((end - start for start, end in bounds), default=0)
    start, end = (torch.tensor([b[i] for b in bounds], dtype=torch.int64, device=device) for i in (0, 1))
    index = start.unsqueeze(1) + torch.arange(most, device=device)
    return index.clamp(max=length - 1), index < end.unsqueeze(1)


def _pixels(image: Sequence[int], size: tuple[int, int], device: torch.device) -> Tensor:
    """How many pixels each cell holds: float64 (Ho, Wo)."""
    high, wide = ([float(end - start) for start, end in _bounds(image[i], size[i])] for i in (0, 1))
    return _areas(high, wide, device)


def _window(
    kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int], ceil_mode: bool
) -> Window:
    return Window(pair(kernel), pair(stride, kernel), pair(padding), pair(dilation), ceil_mode)


def _divisor(x: Tensor, w: Window, count_include_pad: bool, override: int | None) -> Tensor:
    """How many pixels each window counts, as float64 that divides a result (Ho, Wo).

    Padding may count; what a partial window of ceil_mode finds beyond the padding never does.
    """
    if override is not None:
        return torch.full((), float(override), dtype=torch.float64, device=x.device)
    sizes = []
    for axis, outputs in enumerate(w.outputs(x.shape[-2:])):
        length, padding = x.shape[axis - 2], w.padding[axis]
        starts = [i * w.stride[axis] - padding for i in range(outputs)]
        ends = [min(start + w.kernel[axis], length + padding) for start in starts]
        if not count_include_pad:
            starts, ends = [max(start, 0) for start in starts], [min(end, length) for end in ends]
        sizes.append([float(end - start) for start, end in zip(starts, ends, strict=True)])
    return _areas(sizes[0], sizes[1], x.device)


def _areas(high: list[float], wide: list[float], device: torch.device) -> Tensor:
    """Heights (Ho,) times widths (Wo,), whole numbers in float64."""
    vertical, horizontal = (torch.tensor(sizes, dtype=torch.float64, device=device) for sizes in (high, wide))
    return vertical.unsqueeze(1) * horizontal
