"""Softmax, normalisation and losses, and their backwards, written out in exact sums and fixed functions.

Intermediates are float64 and every result is rounded once, with one exception: wherever torch.func's batching rules
take an operator apart (bias after a product, weight and bias after a normalisation, the reduction after a loss), these
follow the same steps and round at the same places: a model under vmap gives the bits that it gives alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from validator.exact import functions
from validator.exact.errors import UnsupportedOp
from validator.exact.fused import fused
from validator.exact.products import settle
from validator.exact.sums import divide, exact_mean, exact_sum, total

_NONE, _MEAN, _SUM = 0, 1, 2
"""torch's codes for the reduction of a loss."""


@fused("rows.softmax")
def softmax(x: Tensor, dim: int, half_to_float: bool) -> Tensor:
    """aten._softmax."""
    grown = functions.exp(_below_largest(x, dim))
    return settle(grown.div_(total(grown, (dim,), True, "aten._softmax", fine=_fine(x))), x.dtype)


@fused("rows.softmax_backward")
def softmax_backward(grad: Tensor, output: Tensor, dim: int, dtype: torch.dtype) -> Tensor:
    """aten._softmax_backward_data: (g - sum(g y)) y."""
    wide, y = _wide(grad), _wide(output)
    mean = total(torch.mul(wide, y), (dim,), True, "aten._softmax_backward_data", fine=_fine(grad))
    return settle(torch.sub(wide, mean).mul_(y), grad.dtype)


@fused("rows.log_softmax")
def log_softmax(x: Tensor, dim: int, half_to_float: bool) -> Tensor:
    """aten._log_softmax."""
    below = _below_largest(x, dim)
    mass = total(functions.exp(below), (dim,), True, "aten._log_softmax", fine=_fine(x))
    return settle(below.sub_(functions.log(mass)), x.dtype)


@fused("rows.log_softmax_backward")
def log_softmax_backward(grad: Tensor, output: Tensor, dim: int, dtype: torch.dtype) -> Tensor:
    """aten._log_softmax_backward_data: g - e^y sum(g)."""
    mass = total(grad, (dim,), True, "aten._log_softmax_backward_data")
    return settle(functions.exp(_wide(output)).mul_(mass).neg_().add_(grad), grad.dtype)


@fused("rows.logsumexp")
def logsumexp(x: Tensor, dim: Sequence[int], keepdim: bool = False) -> Tensor:
    """aten.logsumexp; infinite inputs are refused."""
    top = _wide(x).amax(tuple(dim), keepdim=True)
    mass = total(functions.exp(torch.sub(x, top)), dim, True, "aten.logsumexp", fine=_fine(x))
    result = functions.log(mass).add_(top)
    return settle(result if keepdim else result.squeeze(tuple(dim)), x.dtype)


@fused("norms.layer_norm")
def layer_norm(
    x: Tensor, shape: Sequence[int], weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """aten.native_layer_norm: (output, mean, 1 / deviation), statistics over the last len(shape) dimensions."""
    dims = tuple(range(-len(shape), 0))
    mean, centred, scale = _standardise(x, dims, eps, "aten.native_layer_norm")
    output = _affine(settle(centred.mul_(scale), x.dtype), weight, bias)
    return output, settle(mean, x.dtype), settle(scale, x.dtype)


def layer_norm_backward(
    grad: Tensor,
    x: Tensor,
    shape: Sequence[int],
    mean: Tensor,
    scale: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mask: Sequence[bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """aten.native_layer_norm_backward; the saved statistics are those of `layer_norm`, rounded."""
    op = "aten.native_layer_norm_backward"
    batch = tuple(range(x.dim() - len(shape)))
    d_input = shares = None
    if mask[0]:
        d_input, shares = _layer_norm_gradients(grad, x, len(shape), mean, scale, weight, mask[1])
    elif mask[1]:
        shares = _weight_shares(grad, x, mean, scale)
    d_weight = None if shares is None else _batch_sum(shares, batch, op)
    return d_input, d_weight, _batch_sum(grad, batch, op) if mask[2] else None


@fused("norms.layer_norm_gradients")
def _layer_norm_gradients(
    grad: Tensor, x: Tensor, rank: int, mean: Tensor, scale: Tensor, weight: Tensor | None, shares: bool
) -> tuple[Tensor, Tensor | None]:
    """The gradient of the input and, if asked for, each row's share of the weight's; rows are the last `rank` axes."""
    inner = grad if weight is None else torch.mul(grad, weight)
    d_input = _normal_backward(inner, x, mean, scale, tuple(range(-rank, 0)), "aten.native_layer_norm_backward")
    return d_input, _weight_shares(grad, x, mean, scale) if shares else None


def _weight_shares(grad: Tensor, x: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    return torch.mul(grad, torch.sub(x, mean).mul_(scale))


def mse_loss(x: Tensor, target: Tensor, reduction: int = _MEAN) -> Tensor:
    """aten.mse_loss."""
    gap = torch.sub(x, target)
    return _reduce(torch.mul(gap, gap), reduction, "aten.mse_loss")


def mse_loss_backward(grad: Tensor, x: Tensor, target: Tensor, reduction: int) -> Tensor:
    """aten.mse_loss_backward."""
    factor = torch.full((), 2.0, dtype=x.dtype, device=x.device)
    norm = divide(factor, x.numel()) if reduction == _MEAN else factor
    return torch.mul(torch.mul(torch.sub(x, target), norm), grad)


def logistic_loss(
    x: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    pos_weight: Tensor | None = None,
    reduction: int = _MEAN,
) -> Tensor:
    """aten.binary_cross_entropy_with_logits: (1 - t) x + (1 + (p - 1) t) log(1 + e^-x)."""
    wide, t = _wide(x), _wide(target)
    slope = functions.softplus(torch.neg(wide))
    if pos_weight is not None:
        slope.mul_((_wide(pos_weight) - 1.0).mul(t).add_(1.0))
    losses = settle((1.0 - t).mul_(wide).add_(slope), x.dtype)
    losses = losses if weight is None else torch.mul(losses, weight)
    return _reduce(losses, reduction, "aten.binary_cross_entropy_with_logits")


def nll_loss(
    log_p: Tensor, target: Tensor, weight: Tensor | None, reduction: int, ignore_index: int
) -> tuple[Tensor, Tensor]:
    """aten.nll_loss_forward and nll_loss2d_forward: (loss, total weight). Classes are dimension 1, or 0 of a vector."""
    op = "aten.nll_loss_forward"
    dim, kept, index = _classes(log_p, target, ignore_index)
    picked = torch.neg(log_p.gather(dim, index).squeeze(dim))
    weights = torch.ones_like(picked) if weight is None else weight[index.squeeze(dim)]
    zero = torch.zeros((), dtype=log_p.dtype, device=log_p.device)
    losses = torch.where(kept, picked if weight is None else torch.mul(picked, weights), zero)
    if reduction == _NONE:
        return losses.add_(0.0), zero
    mass = exact_sum(torch.where(kept, weights, zero), None, False, log_p.dtype, op)
    loss = exact_sum(losses, None, False, log_p.dtype, op)
    return (torch.div(loss, mass) if reduction == _MEAN else loss), mass


def nll_loss_backward(
    grad: Tensor,
    log_p: Tensor,
    target: Tensor,
    weight: Tensor | None,
    reduction: int,
    ignore_index: int,
    total_weight: Tensor,
) -> Tensor:
    """aten.nll_loss_backward and nll_loss2d_backward."""
    dim, kept, index = _classes(log_p, target, ignore_index)
    each = torch.div(grad, total_weight) if reduction == _MEAN else grad
    values = torch.neg(each).expand(kept.shape)
    if weight is not None:
        values = torch.mul(values, weight[index.squeeze(dim)])
    values = torch.where(kept, values, torch.zeros((), dtype=log_p.dtype, device=log_p.device))
    return torch.zeros_like(log_p).scatter_(dim, index, values.unsqueeze(dim)).add_(0.0)


def dropout(x: Tensor, p: float, train: bool | None) -> tuple[Tensor, Tensor]:
    """aten.native_dropout, off. Raises UnsupportedOp when it would draw."""
    if train is not False and p != 0.0:
        raise UnsupportedOp("aten.native_dropout", "torch's generators are not portable; call model.eval() or set p=0")
    return x.clone(), torch.ones_like(x, dtype=torch.bool)


def _wide(x: Tensor) -> Tensor:
    """A float64 copy that may be overwritten."""
    return x.to(torch.float64, copy=True)


def _fine(x: Tensor) -> bool:
    return x.dtype == torch.float64


def _below_largest(x: Tensor, dim: int) -> Tensor:
    wide = _wide(x)
    return wide.sub_(wide.amax(dim, keepdim=True)) if x.numel() else wide


def _standardise(x: Tensor, dims: tuple[int, ...], eps: float, op: str) -> tuple[Tensor, Tensor, Tensor]:
    """(mean, x - mean, 1 / sqrt(variance + eps)) in float64, statistics over `dims`, kept as ones."""
    n = x[(0,) * (x.dim() - len(dims))].numel() if x.numel() else 1
    mean = divide(total(x, dims, True, op), n)
    centred = _wide(x).sub_(mean)
    variance = divide(total(torch.mul(centred, centred), dims, True, op, fine=_fine(x)), n)
    return mean, centred, functions.rsqrt(variance.add_(eps))


def _normal_backward(grad: Tensor, x: Tensor, mean: Tensor, scale: Tensor, dims: tuple[int, ...], op: str) -> Tensor:
    """(g - mean(g) - y mean(g y)) * scale with y the normalised input."""
    n = grad[(0,) * (grad.dim() - len(dims))].numel() if grad.numel() else 1
    wide = _wide(grad)
    y = torch.sub(_wide(x), mean).mul_(scale)
    along = divide(total(torch.mul(wide, y), dims, True, op, fine=_fine(x)), n)
    level = divide(total(grad, dims, True, op), n)
    return settle(wide.sub_(level).sub_(y.mul_(along)).mul_(scale), x.dtype)


def _batch_sum(x: Tensor, dims: tuple[int, ...], op: str) -> Tensor:
    return exact_sum(x, dims, False, x.dtype, op) if dims else x.clone()


def _affine(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    if weight is not None:
        x = torch.mul(x, weight)
    return x if bias is None else torch.add(x, bias)


def _reduce(losses: Tensor, reduction: int, op: str) -> Tensor:
    if reduction == _NONE:
        return losses
    return (exact_mean if reduction == _MEAN else exact_sum)(losses, None, False, losses.dtype, op)


def _classes(log_p: Tensor, target: Tensor, ignore_index: int) -> tuple[int, Tensor, Tensor]:
    """(class dimension, which targets count, index for gather with ignored targets at class 0)."""
    dim = 1 if log_p.dim() > 1 else 0
    kept = target != ignore_index
    index = torch.where(kept, target, torch.zeros_like(target)).unsqueeze(dim)
    return dim, kept, index
