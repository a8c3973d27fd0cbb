"""Convolution as unfold and product; pooling by windows; what overlaps is added back in a fixed order.

The adjoint of taking windows (`_fold`) adds kernel offset by kernel offset, row by row: each is one rounded float64
addition per element, and their order is that of the kernel, whatever the batch or the device.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from validator.exact.errors import UnsupportedOp
from validator.exact.products import product, settle
from validator.exact.sums import exact_mean, exact_sum, total


@dataclass(frozen=True, slots=True)
class Window:
    """How a kernel slides over the last two dimensions: sizes in pixels, each (vertical, horizontal)."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int] = (1, 1)

    def outputs(self, size: Sequence[int]) -> tuple[int, int]:
        """Number of positions over an image of `size` (floor mode)."""
        high, wide = (
            (size[i] + 2 * self.padding[i] - self.dilation[i] * (self.kernel[i] - 1) - 1) // self.stride[i] + 1
            for i in (0, 1)
        )
        return high, wide


def _pair(values: Sequence[int], default: Sequence[int] | None = None) -> tuple[int, int]:
    chosen = list(values) or list(default or ())
    return (chosen[0], chosen[0]) if len(chosen) == 1 else (chosen[0], chosen[1])


def _windows(x: Tensor, w: Window, fill: float) -> Tensor:
    """(..., H, W) to a view (..., kh, kw, Ho, Wo) of a padded copy."""
    vertical, horizontal = w.padding
    padded = functional.pad(x, (horizontal, horizontal, vertical, vertical), value=fill).contiguous()
    high, wide = w.outputs(x.shape[-2:])
    *lead, row, column = padded.stride()
    return padded.as_strided(
        (*x.shape[:-2], *w.kernel, high, wide),
        (*lead, row * w.dilation[0], column * w.dilation[1], row * w.stride[0], column * w.stride[1]),
    )


def _fold(columns: Tensor, w: Window, size: Sequence[int]) -> Tensor:
    """The adjoint of `_windows`: float64 (..., kh, kw, Ho, Wo) to (..., H, W)."""
    (vertical, horizontal), (high, wide) = w.padding, w.outputs(size)
    padded = columns.new_zeros((*columns.shape[:-4], size[0] + 2 * vertical, size[1] + 2 * horizontal))
    for i in range(w.kernel[0]):
        top = i * w.dilation[0]
        rows = padded[..., top : top + (high - 1) * w.stride[0] + 1 : w.stride[0], :]
        for j in range(w.kernel[1]):
            left = j * w.dilation[1]
            rows[..., left : left + (wide - 1) * w.stride[1] + 1 : w.stride[1]].add_(columns[..., i, j, :, :])
    return padded[..., vertical : vertical + size[0], horizontal : horizontal + size[1]]


def _grouped(x: Tensor, dim: int, groups: int) -> Tensor:
    """Dimension `dim` as (groups, the rest)."""
    return x.reshape(*x.shape[:dim], groups, x.shape[dim] // groups, *x.shape[dim + 1 :])


@dataclass(frozen=True, slots=True)
class _Convolution:
    """A convolution in two dimensions and its products; x (N, C, H, W), weight (O, C / groups, kh, kw)."""

    window: Window
    groups: int
    op: str

    def columns(self, x: Tensor) -> Tensor:
        """(groups, C / groups * kh * kw, N * Ho * Wo)."""
        view = _windows(_grouped(x, 1, self.groups), self.window, 0.0)
        return view.permute(1, 2, 3, 4, 0, 5, 6).flatten(4).flatten(1, 3)

    def rows(self, y: Tensor) -> Tensor:
        """(N, O, Ho, Wo) as (groups, O / groups, N * Ho * Wo)."""
        return _grouped(y, 1, self.groups).permute(1, 2, 0, 3, 4).flatten(2)

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        high, wide = self.window.outputs(x.shape[-2:])
        out = product(_grouped(weight.flatten(1), 0, self.groups), self.columns(x), self.op)
        placed = out.view(weight.shape[0], x.shape[0], high, wide).transpose(0, 1)
        return settle(placed.contiguous(), x.dtype)

    def grad_input(self, grad: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        kernel = _grouped(weight.flatten(1), 0, self.groups)
        columns = product(kernel.transpose(1, 2), self.rows(grad), self.op)
        shaped = columns.view(-1, *self.window.kernel, x.shape[0], *grad.shape[-2:])
        return settle(_fold(shaped.permute(3, 0, 1, 2, 4, 5), self.window, x.shape[-2:]).contiguous(), x.dtype)

    def grad_weight(self, grad: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        out = product(self.rows(grad), self.columns(x).transpose(1, 2), self.op)
        return settle(out.view(weight.shape), weight.dtype)


def _convolution(
    op: str, weight: Tensor, stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int], groups: int
) -> _Convolution:
    kernel = weight.shape[-2:]
    return _Convolution(Window((kernel[0], kernel[1]), _pair(stride), _pair(padding), _pair(dilation)), groups, op)


def _check(op: str, x: Tensor, transposed: bool) -> None:
    if transposed or x.dim() not in (3, 4):
        raise UnsupportedOp(op, "only plain convolutions in one or two dimensions have an exact rule")


def convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> Tensor:
    """aten.convolution in one or two dimensions: the product rounded, then the bias added."""
    _check("aten.convolution", x, transposed)
    if x.dim() == 3:
        lifted = ([1, *v] for v in (stride, dilation))
        step, spread = lifted
        return convolution(
            x.unsqueeze(2), weight.unsqueeze(2), bias, step, [0, *padding], spread, False, [0, 0], groups
        ).squeeze(2)
    out = _convolution("aten.convolution", weight, stride, padding, dilation, groups).forward(x, weight)
    return out if bias is None else out.add_(bias.view(-1, 1, 1))


def convolution_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    bias_sizes: Sequence[int] | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
    mask: Sequence[bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """aten.convolution_backward: gradients of input, weight and bias, those that `mask` asks for."""
    op = "aten.convolution_backward"
    _check(op, x, transposed)
    if x.dim() == 3:
        flat = convolution_backward(
            grad.unsqueeze(2), x.unsqueeze(2), weight.unsqueeze(2), bias_sizes,
            [1, *stride], [0, *padding], [1, *dilation], False, [0, 0], groups, mask,
        )  # fmt: skip
        return (
            flat[0] if flat[0] is None else flat[0].squeeze(2),
            flat[1] if flat[1] is None else flat[1].squeeze(2),
            flat[2],
        )
    rule = _convolution(op, weight, stride, padding, dilation, groups)
    return (
        rule.grad_input(grad, x, weight) if mask[0] else None,
        rule.grad_weight(grad, x, weight) if mask[1] else None,
        exact_sum(grad, (0, 2, 3), False, grad.dtype, op) if mask[2] else None,
    )


def max_pool(
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    dilation: Sequence[int] = (1,),
    ceil_mode: bool = False,
) -> tuple[Tensor, Tensor]:
    """aten.max_pool2d_with_indices: of equal maxima the first in row order wins; indices are into the H * W plane."""
    w = _pool_window("aten.max_pool2d_with_indices", kernel, stride, padding, dilation, ceil_mode)
    candidates = _windows(x, w, -math.inf).flatten(-4, -3)
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
    w = _pool_window("aten.max_pool2d_with_indices_backward", kernel, stride, padding, dilation, ceil_mode)
    plane = torch.arange(x.shape[-2] * x.shape[-1], dtype=torch.float64, device=x.device).view(x.shape[-2:])
    chosen = _windows(plane, w, -1.0) == indices.unsqueeze(-3).unsqueeze(-3)
    zero = torch.zeros((), dtype=torch.float64, device=x.device)
    columns = torch.where(chosen, grad.to(torch.float64).unsqueeze(-3).unsqueeze(-3), zero)
    return settle(_fold(columns, w, x.shape[-2:]).contiguous(), x.dtype)


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
    op = "aten.avg_pool2d"
    w = _pool_window(op, kernel, stride, padding, (1,), ceil_mode)
    sums = total(_windows(x, w, 0.0), (-4, -3), False, op)
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
    w = _pool_window("aten.avg_pool2d_backward", kernel, stride, padding, (1,), ceil_mode)
    share = torch.div(grad.to(torch.float64), _divisor(x, w, count_include_pad, divisor_override))
    columns = share.unsqueeze(-3).unsqueeze(-3).expand(*share.shape[:-2], *w.kernel, *share.shape[-2:])
    return settle(_fold(columns, w, x.shape[-2:]).contiguous(), x.dtype)


def adaptive_average_pool(x: Tensor, output_size: Sequence[int]) -> Tensor:
    """aten._adaptive_avg_pool2d for output sizes that divide the image."""
    w = _adaptive("aten._adaptive_avg_pool2d", x, output_size)
    return exact_mean(_windows(x, w, 0.0), (-4, -3), False, x.dtype, "aten._adaptive_avg_pool2d")


def adaptive_average_pool_backward(grad: Tensor, x: Tensor) -> Tensor:
    """aten._adaptive_avg_pool2d_backward."""
    w = _adaptive("aten._adaptive_avg_pool2d_backward", x, grad.shape[-2:])
    return average_pool_backward(grad, x, w.kernel, w.stride, (0,), False, True, None)


def adaptive_max_pool(x: Tensor, output_size: Sequence[int]) -> tuple[Tensor, Tensor]:
    """aten.adaptive_max_pool2d for output sizes that divide the image."""
    w = _adaptive("aten.adaptive_max_pool2d", x, output_size)
    return max_pool(x, w.kernel, w.stride)


def adaptive_max_pool_backward(grad: Tensor, x: Tensor, indices: Tensor) -> Tensor:
    """aten.adaptive_max_pool2d_backward."""
    w = _adaptive("aten.adaptive_max_pool2d_backward", x, grad.shape[-2:])
    return max_pool_backward(grad, x, w.kernel, w.stride, (0,), (1,), False, indices)


def _adaptive(op: str, x: Tensor, output_size: Sequence[int]) -> Window:
    high, wide = output_size
    if x.shape[-2] % high or x.shape[-1] % wide:
        raise UnsupportedOp(op, f"an image of {tuple(x.shape[-2:])} does not divide evenly into {(high, wide)} cells")
    kernel = (x.shape[-2] // high, x.shape[-1] // wide)
    return Window(kernel, kernel, (0, 0))


def _pool_window(
    op: str,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool,
) -> Window:
    if ceil_mode:
        raise UnsupportedOp(op, "ceil_mode has no exact rule; pad the input instead")
    return Window(_pair(kernel), _pair(stride, kernel), _pair(padding), _pair(dilation))


def _divisor(x: Tensor, w: Window, count_include_pad: bool, override: int | None) -> Tensor:
    """How many pixels each window counts, as float64 that divides a result (Ho, Wo)."""
    if override is not None or count_include_pad or w.padding == (0, 0):
        number = float(override or w.kernel[0] * w.kernel[1])
        return torch.full((), number, dtype=torch.float64, device=x.device)
    inside = torch.ones(x.shape[-2:], dtype=torch.float64, device=x.device)
    return _windows(inside, w, 0.0).sum((-4, -3))
