"""Activations and their derivatives: float64 inside, one rounding out, each element by itself."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from validator.exact import functions
from validator.exact.errors import UnsupportedOp
from validator.exact.fused import fused, kernel_of
from validator.exact.products import settle

_INVERSE_SQRT_TWO_PI = 0.3989422804014327
_TWO_SQRT_TWO_OVER_PI = 1.5957691216057308
_GELU_CUBIC = 0.044715


def rounded(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """A float64 function of functions.py as an aten operator: integers count as float32, the result is rounded once."""

    def run(x: Tensor) -> Tensor:
        return settle(function(_wide(x)), _float(x))

    path = kernel_of(function)
    return fused(path, torch.float32)(run) if path else run


@fused("pointwise.sqrt", torch.float32)
def sqrt(x: Tensor) -> Tensor:
    """aten.sqrt, correctly rounded."""
    root = functions.sqrt if x.dtype == torch.float64 else functions.sqrt_rounded_to_float32
    return settle(root(_wide(x)), _float(x))


@fused("activations.power", torch.float32)
def power(x: Tensor, exponent: float) -> Tensor:
    """aten.pow.Tensor_Scalar; a square is one product in the working dtype. Integers take whole exponents."""
    if not x.dtype.is_floating_point and isinstance(exponent, int):
        return torch.pow(x, exponent)
    if exponent == 2:
        return torch.mul(x, x)
    if exponent == 0.5:
        return sqrt(x)
    return settle(functions.power(_wide(x), float(exponent)), _float(x))


def scalar_power(base: float, x: Tensor) -> Tensor:
    """aten.pow.Scalar for a positive base: exp(x log base)."""
    if not base > 0:
        raise UnsupportedOp("aten.pow.Scalar", "the base must be positive")
    log_base = functions.log(torch.full((), base, dtype=torch.float64, device=x.device))
    return settle(functions.exp(_wide(x).mul_(log_base)), _float(x))


def log_of_base(base: float) -> Callable[[Tensor], Tensor]:
    """log2 and log10: two roundings more than log."""

    def run(x: Tensor) -> Tensor:
        scale = functions.log(torch.full((), base, dtype=torch.float64, device=x.device))
        return settle(functions.log(_wide(x)).div_(scale), _float(x))

    return run


# The backward rules multiply by grad last and out of place: under vmap it may have more axes than the forward's result.


@fused("activations.sigmoid_backward")
def sigmoid_backward(grad: Tensor, y: Tensor) -> Tensor:
    """aten.sigmoid_backward: g y (1 - y)."""
    wide = _wide(y)
    return settle(torch.mul((1.0 - wide).mul_(wide), grad), grad.dtype)


@fused("activations.tanh_backward")
def tanh_backward(grad: Tensor, y: Tensor) -> Tensor:
    """aten.tanh_backward: g (1 - y^2)."""
    wide = _wide(y)
    return settle(torch.mul(1.0 - wide.mul_(wide), grad), grad.dtype)


@fused("activations.silu")
def silu(x: Tensor) -> Tensor:
    """aten.silu: x sigmoid(x)."""
    wide = _wide(x)
    return settle(functions.sigmoid(wide).mul_(wide), x.dtype)


@fused("activations.silu_backward")
def silu_backward(grad: Tensor, x: Tensor) -> Tensor:
    """aten.silu_backward: (g s) (1 + x (1 - s)), each step rounded as torch.func's batching rule has it."""
    s = settle(functions.sigmoid(_wide(x)), x.dtype)
    return torch.mul(torch.mul(grad, s), torch.mul(x, 1.0 - s).add_(1.0)).add_(0.0)


@fused("activations.gelu")
def gelu(x: Tensor, *, approximate: str = "none") -> Tensor:
    """aten.gelu: x times the normal distribution function, or its tanh form."""
    wide = _wide(x)
    share = functions.normal_cdf(wide)[0] if approximate == "none" else functions.sigmoid(_gelu_inner(wide))
    return settle(share.mul_(wide), x.dtype)


@fused("activations.gelu_backward")
def gelu_backward(grad: Tensor, x: Tensor, *, approximate: str = "none") -> Tensor:
    """aten.gelu_backward."""
    wide = _wide(x)
    if approximate == "none":
        share, bell = functions.normal_cdf(wide)
        slope = bell.mul_(_INVERSE_SQRT_TWO_PI).mul_(wide).add_(share)
    else:
        s = functions.sigmoid(_gelu_inner(wide))
        steep = torch.mul(wide, wide).mul_(3 * _GELU_CUBIC).add_(1.0).mul_(_TWO_SQRT_TWO_OVER_PI)
        slope = (1.0 - s).mul_(s).mul_(steep).mul_(wide).add_(s)
    return settle(torch.mul(slope, grad), x.dtype)


def _gelu_inner(x: Tensor) -> Tensor:
    """Twice the argument of tanh: (1 + tanh u) / 2 = sigmoid(2 u). Beyond 40 either way the answer is 0 or 1."""
    inner = torch.mul(x, x).mul_(_GELU_CUBIC).add_(1.0).mul_(x)
    return inner.mul_(_TWO_SQRT_TWO_OVER_PI)


@fused("activations.softplus")
def softplus(x: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """aten.softplus: log(1 + e^(beta x)) / beta, x itself where beta x exceeds the threshold."""
    scaled = _wide(x).mul_(beta)
    value = functions.softplus(scaled).div_(torch.full((), beta, dtype=torch.float64, device=x.device))
    return torch.where(scaled > threshold, x, settle(value, x.dtype))


@fused("activations.softplus_backward")
def softplus_backward(grad: Tensor, x: Tensor, beta: float, threshold: float) -> Tensor:
    """aten.softplus_backward."""
    scaled = _wide(x).mul_(beta)
    return torch.where(scaled > threshold, grad, settle(torch.mul(functions.sigmoid(scaled), grad), x.dtype))


def log_sigmoid(x: Tensor) -> tuple[Tensor, Tensor]:
    """aten.log_sigmoid_forward; the second result is a buffer that our backward does not read."""
    return _log_sigmoid(x), x.new_zeros(0)


def log_sigmoid_backward(grad: Tensor, x: Tensor, buffer: Tensor) -> Tensor:
    """aten.log_sigmoid_backward: g sigmoid(-x)."""
    return _log_sigmoid_backward(grad, x)


@fused("activations.log_sigmoid")
def _log_sigmoid(x: Tensor) -> Tensor:
    return settle(functions.softplus(_wide(x).neg_()).neg_(), x.dtype)


@fused("activations.log_sigmoid_backward")
def _log_sigmoid_backward(grad: Tensor, x: Tensor) -> Tensor:
    return settle(torch.mul(functions.sigmoid(_wide(x).neg_()), grad), x.dtype)


@fused("activations.elu")
def elu(x: Tensor, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Tensor:
    """aten.elu."""
    wide = _wide(x)
    left = functions.expm1(torch.mul(wide, input_scale)).mul_(alpha).mul_(scale)
    return settle(torch.where(wide > 0, wide.mul_(scale), left), x.dtype)


@fused("activations.elu_backward")
def elu_backward(
    grad: Tensor, alpha: float, scale: float, input_scale: float, is_result: bool, value: Tensor
) -> Tensor:
    """aten.elu_backward, from the input or from the result."""
    wide = _wide(value)
    if is_result:
        left = torch.add(wide, alpha * scale).mul_(input_scale)
    else:
        left = functions.exp(torch.mul(wide, input_scale)).mul_(alpha * scale).mul_(input_scale)
    return settle(torch.mul(torch.where(wide > 0, scale, left), grad), grad.dtype)


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.float64, copy=True)


def _float(x: Tensor) -> torch.dtype:
    return x.dtype if x.dtype.is_floating_point else torch.float32
