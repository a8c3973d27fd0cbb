"""Normalisation of groups, of instances, by the root of the mean square, and by running statistics.

Every step that torch takes as an operator of its own, on some device, in some release or under torch.func, is rounded
here as well: the operator in one piece gives the bits of its parts.

    group norm    torch.func and create_graph take its backward apart into float32 steps
    instance norm a batch norm with one record: its channels are the instances
    RMS norm      in parts on the CPU, in one piece (_fused_rms_norm) on a GPU since torch 2.8
    batch norm    torch.func takes the gradients of weight and bias apart; on a GPU it may be cuDNN's
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from validator.exact import functions
from validator.exact.errors import UnsupportedOp
from validator.exact.products import settle
from validator.exact.rules.compound import layer_norm, layer_norm_backward
from validator.exact.sums import divide, exact_mean, exact_sum

Gradients = tuple[Tensor | None, Tensor | None, Tensor | None]
"""Of input, weight and bias."""

_CUBE = 3.0
_OF_THE_BATCH = "it takes statistics of the batch; call model.eval()"


def group_norm(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, n: int, c: int, area: int, groups: int, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """aten.native_group_norm of (n, c, area): (output, mean, 1 / deviation), statistics (n, groups)."""
    normal, mean, scale = _standardised(x, n * groups, eps)
    return _affine(normal, weight, bias), mean.view(n, groups), scale.view(n, groups)


def group_norm_backward(
    grad: Tensor,
    x: Tensor,
    mean: Tensor,
    scale: Tensor,
    weight: Tensor | None,
    n: int,
    c: int,
    area: int,
    groups: int,
    mask: Sequence[bool],
) -> Gradients:
    """aten.native_group_norm_backward, in the steps that torch takes when it records a graph of the backward."""
    op = "aten.native_group_norm_backward"
    shape = (n, groups, c // groups, area)
    dy, inputs = grad.reshape(shape), x.reshape(shape)
    mean, scale = mean.reshape(n, groups, 1, 1), scale.reshape(n, groups, 1, 1)
    along = exact_sum(torch.mul(dy, inputs), (3,), True, x.dtype, op)
    level = exact_sum(dy, (3,), True, x.dtype, op)
    d_input = d_weight = d_bias = None
    if mask[0]:
        gamma = torch.ones((), dtype=x.dtype, device=x.device) if weight is None else weight.reshape(1, *shape[1:3], 1)
        share = 1.0 / (shape[2] * area)
        b = exact_sum(torch.mul(along, gamma), (2,), True, x.dtype, op)
        c_ = exact_sum(torch.mul(level, gamma), (2,), True, x.dtype, op)
        cube = torch.mul(torch.mul(scale, scale), scale)
        b = torch.mul(torch.mul(torch.sub(torch.mul(c_, mean), b), cube), share)
        c_ = torch.sub(torch.mul(torch.neg(b), mean), torch.mul(torch.mul(c_, scale), share))
        d_input = torch.add(torch.mul(torch.mul(scale, gamma), dy), torch.mul(b, inputs)).add_(c_).view(x.shape)
    if mask[1]:
        gap = torch.mul(torch.sub(along, torch.mul(level, mean)), scale)
        d_weight = exact_sum(gap, (0,), False, x.dtype, op).view(c)
    if mask[2]:
        d_bias = exact_sum(level, (0,), False, x.dtype, op).view(c)
    return d_input, d_weight, d_bias


def fused_rms_norm(x: Tensor, shape: Sequence[int], weight: Tensor | None, eps: float | None) -> tuple[Tensor, Tensor]:
    """aten._fused_rms_norm: (output, 1 / root mean square), over the last len(shape) dimensions."""
    dims = _last(shape)
    square = exact_mean(torch.mul(x, x), dims, True, x.dtype, "aten._fused_rms_norm")
    square.add_(torch.finfo(x.dtype).eps if eps is None else eps)
    scale = settle(functions.rsqrt(square.to(torch.float64, copy=True)), x.dtype)
    return _affine(torch.mul(x, scale), weight, None, channels=False), scale


def fused_rms_norm_backward(
    grad: Tensor, x: Tensor, shape: Sequence[int], scale: Tensor, weight: Tensor | None, mask: Sequence[bool]
) -> tuple[Tensor | None, Tensor | None]:
    """aten._fused_rms_norm_backward, in the steps that autograd takes through the parts: of input and weight."""
    op = "aten._fused_rms_norm_backward"
    dims, batch = _last(shape), tuple(range(x.dim() - len(shape)))
    d_input = d_weight = None
    if mask[0]:
        inner = grad if weight is None else torch.mul(grad, weight)
        level = torch.mul(exact_sum(torch.mul(inner, x), dims, True, x.dtype, op), -0.5)
        cube = settle(functions.power(scale.to(torch.float64, copy=True), _CUBE), x.dtype)
        n = x.numel() // max(scale.numel(), 1)
        slope = torch.mul(torch.add(x, 0.0), 2.0)
        along = torch.mul(divide(torch.mul(level, cube), n), slope)
        d_input = torch.add(torch.mul(inner, scale), along)
    if mask[1] and weight is not None:
        each = torch.mul(grad, torch.mul(x, scale))
        d_weight = exact_sum(each, batch, False, x.dtype, op) if batch else each
    return d_input, d_weight


def batch_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """aten.native_batch_norm with running statistics, an affine map of each channel, or of a single record.

    The latter is how an instance norm arrives. Statistics of a batch are refused: they would make a record's result
    depend on its neighbours.
    """
    if _single(x, running_mean, training):
        normal, mean, scale = _standardised(x, x.shape[1], eps)
        return _affine(normal, weight, bias), mean.view(-1), scale.view(-1)
    if training or running_mean is None or running_var is None:
        raise UnsupportedOp("aten.native_batch_norm", _OF_THE_BATCH)
    scale = functions.rsqrt(running_var.to(torch.float64, copy=True).add_(eps))
    normal = torch.sub(x.to(torch.float64), _channels(running_mean, x)).mul_(_channels(scale, x))
    empty = x.new_zeros(0)
    return _affine(settle(normal, x.dtype), weight, bias), empty, empty


def batch_norm_no_training(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor,
    running_var: Tensor,
    momentum: float,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """aten._native_batch_norm_legit_no_training."""
    return batch_norm(x, weight, bias, running_mean, running_var, False, momentum, eps)


def cudnn_batch_norm(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """aten.cudnn_batch_norm: what native_batch_norm gives, and a reserve that our backward does not read."""
    output, mean, scale = batch_norm(x, weight, bias, running_mean, running_var, training, momentum, eps)
    return output, mean, scale, torch.zeros(0, dtype=torch.uint8, device=x.device)


def batch_norm_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    save_mean: Tensor | None,
    save_invstd: Tensor | None,
    train: bool,
    eps: float,
    mask: Sequence[bool],
) -> Gradients:
    """aten.native_batch_norm_backward of what `batch_norm` allows."""
    op = "aten.native_batch_norm_backward"
    others = (0, *range(2, x.dim()))
    if _single(x, running_mean, train) and save_mean is not None and save_invstd is not None:
        mean, scale = save_mean, save_invstd
    elif train or running_mean is None or running_var is None:
        raise UnsupportedOp(op, _OF_THE_BATCH)
    else:
        mean, scale = running_mean, _inverse_root(running_var, eps)
    d_input = d_weight = d_bias = None
    if mask[0]:
        inner = grad if weight is None else torch.mul(grad, _channels(weight, x))
        if running_var is None:
            d_input = _single_backward(inner, x, mean, scale)
        else:
            fine = functions.rsqrt(running_var.to(torch.float64, copy=True).add_(eps))
            d_input = settle(inner.to(torch.float64, copy=True).mul_(_channels(fine, x)), x.dtype)
    if mask[1]:
        normal = torch.mul(torch.sub(x, _channels(mean, x)), _channels(scale, x))
        d_weight = exact_sum(torch.mul(normal, grad), others, False, x.dtype, op)
    if mask[2]:
        d_bias = exact_sum(grad, others, False, grad.dtype, op)
    return d_input, d_weight, d_bias


def cudnn_batch_norm_backward(
    x: Tensor,
    grad: Tensor,
    weight: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    save_mean: Tensor | None,
    save_invstd: Tensor | None,
    eps: float,
    reserve: Tensor,
) -> Gradients:
    """aten.cudnn_batch_norm_backward, which torch calls for statistics of the data only."""
    statistics = (running_mean, running_var, save_mean, save_invstd)
    return batch_norm_backward(grad, x, weight, *statistics, True, eps, (True, True, True))


def _single(x: Tensor, running_mean: Tensor | None, training: bool) -> bool:
    """Whether the statistics asked for are those of one record, and none are kept."""
    return training and running_mean is None and x.shape[0] == 1


def _standardised(x: Tensor, rows: int, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """(x less mean, over deviation; mean; 1 / deviation) of `x` taken as so many rows."""
    flat = x.reshape(rows, -1)
    normal, mean, scale = layer_norm(flat, flat.shape[1:], None, None, eps)
    return normal.view(x.shape), mean, scale


def _single_backward(grad: Tensor, x: Tensor, mean: Tensor, scale: Tensor) -> Tensor | None:
    rows = x.shape[1]
    flat, statistics = x.reshape(rows, -1), (mean.view(rows, 1), scale.view(rows, 1))
    mask = (True, False, False)
    found = layer_norm_backward(grad.reshape(rows, -1), flat, flat.shape[1:], *statistics, None, None, mask)[0]
    return None if found is None else found.view(x.shape)


def _inverse_root(variance: Tensor, eps: float) -> Tensor:
    """1 / sqrt(variance + eps), each step rounded as torch.func's rule for the gradient of the weight has it."""
    total = torch.add(variance, eps)
    root = functions.sqrt if total.dtype == torch.float64 else functions.sqrt_rounded_to_float32
    rounded = settle(root(total.to(torch.float64, copy=True)), total.dtype)
    return torch.div(torch.ones_like(rounded), rounded)


def _affine(x: Tensor, weight: Tensor | None, bias: Tensor | None, channels: bool = True) -> Tensor:
    if weight is not None:
        x = torch.mul(x, _channels(weight, x) if channels else weight)
    return x if bias is None else torch.add(x, _channels(bias, x) if channels else bias)


def _channels(p: Tensor, x: Tensor) -> Tensor:
    """A per-channel vector, shaped to meet dimension 1 of `x`."""
    return p.reshape(-1, *(1,) * (x.dim() - 2))


def _last(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(range(-len(shape), 0))
