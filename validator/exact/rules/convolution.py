"""Convolution as unfold and exact product, in one and two dimensions, forward and backward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from validator.exact.errors import UnsupportedOp
from validator.exact.products import product, rounded, settle
from validator.exact.rules.spatial import Window, fold, pair, windows
from validator.exact.sums import exact_sum


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
        view = windows(_grouped(x, 1, self.groups), self.window, 0.0)
        return view.permute(1, 2, 3, 4, 0, 5, 6).flatten(4).flatten(1, 3)

    def rows(self, y: Tensor) -> Tensor:
        """(N, O, Ho, Wo) as (groups, O / groups, N * Ho * Wo)."""
        return _grouped(y, 1, self.groups).permute(1, 2, 0, 3, 4).flatten(2)

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        high, wide = self.window.outputs(x.shape[-2:])
        out = rounded(_grouped(weight.flatten(1), 0, self.groups), self.columns(x), self.op)
        return out.view(weight.shape[0], x.shape[0], high, wide).transpose(0, 1).contiguous()

    def grad_input(self, grad: Tensor, size: Sequence[int], weight: Tensor) -> Tensor:
        """Where an input of `size` (H, W) is wanted: also what a transposed convolution of `grad` is."""
        kernel = _grouped(weight.flatten(1), 0, self.groups)
        columns = product(kernel.transpose(1, 2), self.rows(grad), self.op)
        shaped = columns.view(-1, *self.window.kernel, grad.shape[0], *grad.shape[-2:])
        return settle(fold(shaped.permute(3, 0, 1, 2, 4, 5), self.window, size).contiguous(), grad.dtype)

    def inputs(self, outputs: Sequence[int], more: Sequence[int]) -> list[int]:
        """(H, W) of a transposed convolution's result; `more` is its output padding."""
        w = self.window
        sides = zip(outputs, w.stride, w.padding, w.dilation, w.kernel, more, strict=True)
        return [(n - 1) * s - 2 * p + d * (k - 1) + extra + 1 for n, s, p, d, k, extra in sides]

    def grad_weight(self, grad: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        return rounded(self.rows(grad), self.columns(x).transpose(1, 2), self.op).view(weight.shape)


def _convolution(
    op: str, weight: Tensor, stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int], groups: int
) -> _Convolution:
    kernel = weight.shape[-2:]
    return _Convolution(Window((kernel[0], kernel[1]), pair(stride), pair(padding), pair(dilation)), groups, op)


def _check(op: str, x: Tensor, weight: Tensor) -> None:
    if x.dim() not in (3, 4) or weight.dim() != x.dim():
        raise UnsupportedOp(op, "only convolutions in one or two dimensions have an exact rule")


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
    """aten.convolution in one or two dimensions: the product rounded, then the bias added.

    A transposed one is the gradient of a plain one in its input. Second derivatives of a convolution ask for it.
    """
    _check("aten.convolution", x, weight)
    if x.dim() == 3:
        lifted = ([1, *v] for v in (stride, dilation))
        step, spread = lifted
        return convolution(
            x.unsqueeze(2), weight.unsqueeze(2), bias, step, [0, *padding], spread, transposed,
            [0, *output_padding], groups,
        ).squeeze(2)  # fmt: skip
    rule = _convolution("aten.convolution", weight, stride, padding, dilation, groups)
    if transposed:
        out = rule.grad_input(x, rule.inputs(x.shape[-2:], output_padding), weight)
    else:
        out = rule.forward(x, weight)
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
    _check(op, x, weight)
    if transposed:
        raise UnsupportedOp(op, "the gradient of a transposed convolution has no exact rule")
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
        rule.grad_input(grad, x.shape[-2:], weight) if mask[0] else None,
        rule.grad_weight(grad, x, weight) if mask[1] else None,
        exact_sum(grad, (0, 2, 3), False, grad.dtype, op) if mask[2] else None,
    )
