"""The rules of activations.py, element by element: the same operations in the same order, each dtype as it has it.

One kernel of one operand and one of two are told by name which rule to compute. What rules share with the eager code by
way of constants (a slope, a threshold, an exponent) is a constant of the kernel too.
"""

from __future__ import annotations

import torch
import triton.language as tl
from torch import Tensor

from validator.exact.kernels.cuda import pointwise, scalar
from validator.exact.kernels.cuda.launch import jit, launch
from validator.exact.kernels.cuda.layout import dense
from validator.exact.kernels.cuda.pointwise import BLOCK, blocks
from validator.exact.kernels.cuda.scalar import negative, settled
from validator.exact.rules import activations

_GELU_CUBIC = tl.constexpr(activations._GELU_CUBIC)
_GELU_CUBIC_SLOPE = tl.constexpr(3 * activations._GELU_CUBIC)
_INVERSE_SQRT_TWO_PI = tl.constexpr(activations._INVERSE_SQRT_TWO_PI)
_TWO_SQRT_TWO_OVER_PI = tl.constexpr(activations._TWO_SQRT_TWO_OVER_PI)


@jit
def _gelu_inner(x: tl.tensor) -> tl.tensor:
    return (x * x * _GELU_CUBIC + 1.0) * x * _TWO_SQRT_TWO_OVER_PI


@jit
def _one(
    x: tl.tensor, out: tl.tensor, n: int, name: tl.constexpr, p: tl.constexpr, q: tl.constexpr, r: tl.constexpr,
    block: tl.constexpr,
) -> None:  # fmt: skip
    at = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    narrow = tl.load(x + at, mask=at < n, other=1.0)
    value = narrow.to(tl.float64)
    if name == "silu":
        result = settled(scalar.sigmoid(value) * value, out)
    elif name == "gelu":
        share, _bell = scalar.normal_cdf(value)
        result = settled(share * value, out)
    elif name == "gelu_tanh":
        result = settled(scalar.sigmoid(_gelu_inner(value)) * value, out)
    elif name == "softplus":
        scaled = value * p
        result = tl.where(scaled > q, narrow, settled(scalar.softplus(scaled) / p, out))
    elif name == "log_sigmoid":
        result = settled(negative(scalar.softplus(negative(value))), out)
    elif name == "elu":
        left = scalar.expm1(value * r) * p * q
        result = settled(tl.where(value > 0.0, value * q, left), out)
    elif name == "log_power":
        result = settled(scalar.log_power(value, p), out)
    else:
        tl.static_assert(name == "whole_power")
        result = settled(scalar.whole_power(value, p, q), out)
    tl.store(out + at, result, mask=at < n)


@jit
def _gelu_slope(x: tl.tensor) -> tl.tensor:
    share, bell = scalar.normal_cdf(x)
    return bell * _INVERSE_SQRT_TWO_PI * x + share


@jit
def _gelu_tanh_slope(x: tl.tensor) -> tl.tensor:
    s = scalar.sigmoid(_gelu_inner(x))
    steep = (x * x * _GELU_CUBIC_SLOPE + 1.0) * _TWO_SQRT_TWO_OVER_PI
    return (1.0 - s) * s * steep * x + s


@jit
def _silu_backward(grad: tl.tensor, x: tl.tensor, out: tl.tensor) -> tl.tensor:
    # Every step in the working dtype, as the rule has it.
    s = settled(scalar.sigmoid(x.to(tl.float64)), out)
    return (grad * s) * (x * (1.0 - s) + 1.0) + 0.0


@jit
def _two(
    grad: tl.tensor, x: tl.tensor, out: tl.tensor, n: int, name: tl.constexpr, p: tl.constexpr, q: tl.constexpr,
    r: tl.constexpr, block: tl.constexpr,
) -> None:  # fmt: skip
    at = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    narrow = tl.load(x + at, mask=at < n, other=1.0)
    value = narrow.to(tl.float64)
    given = tl.load(grad + at, mask=at < n, other=0.0)
    g = given.to(tl.float64)
    if name == "silu":
        result = _silu_backward(given, narrow, out)
    elif name == "sigmoid":
        result = settled((1.0 - value) * value * g, out)
    elif name == "tanh":
        result = settled((1.0 - value * value) * g, out)
    elif name == "gelu":
        result = settled(_gelu_slope(value) * g, out)
    elif name == "gelu_tanh":
        result = settled(_gelu_tanh_slope(value) * g, out)
    elif name == "softplus":
        scaled = value * p
        result = tl.where(scaled > q, given, settled(scalar.sigmoid(scaled) * g, out))
    elif name == "log_sigmoid":
        result = settled(scalar.sigmoid(negative(value)) * g, out)
    elif name == "elu":
        left = scalar.exp(value * r) * p * r
        result = settled(tl.where(value > 0.0, q, left) * g, out)
    else:
        tl.static_assert(name == "elu_of_result")
        left = (value + p) * r
        result = settled(tl.where(value > 0.0, q, left) * g, out)
    tl.store(out + at, result, mask=at < n)


def _unary(name: str, x: Tensor, p: float = 0, q: float = 0, r: float = 0) -> Tensor:
    """A new tensor in the strides that torch's own elementwise operators would give it."""
    out = torch.empty_like(x)
    launch(_one, blocks(x), BLOCK, dense(x, out), out, x.numel(), name=name, p=p, q=q, r=r, block=BLOCK)
    return out


def _binary(name: str, grad: Tensor, x: Tensor, p: float = 0, q: float = 0, r: float = 0) -> Tensor | None:
    """A new tensor; None for operands that differ in shape (as under vmap) or dtype.

    It has the strides of the operand that the eager code begins with, as torch's elementwise operators have it.
    """
    if grad.shape != x.shape or grad.dtype != x.dtype:
        return None
    out = torch.empty_like(grad if name == "silu" else x)
    operands = dense(grad, out), dense(x, out)
    launch(_two, blocks(x), BLOCK, *operands, out, x.numel(), name=name, p=p, q=q, r=r, block=BLOCK)
    return out


def sigmoid_backward(grad: Tensor, y: Tensor) -> Tensor | None:
    """activations.sigmoid_backward."""
    return _binary("sigmoid", grad, y)


def tanh_backward(grad: Tensor, y: Tensor) -> Tensor | None:
    """activations.tanh_backward."""
    return _binary("tanh", grad, y)


def silu(x: Tensor) -> Tensor:
    """activations.silu."""
    return _unary("silu", x)


def silu_backward(grad: Tensor, x: Tensor) -> Tensor | None:
    """activations.silu_backward."""
    return _binary("silu", grad, x)


def gelu(x: Tensor, *, approximate: str = "none") -> Tensor:
    """activations.gelu."""
    return _unary("gelu" if approximate == "none" else "gelu_tanh", x)


def gelu_backward(grad: Tensor, x: Tensor, *, approximate: str = "none") -> Tensor | None:
    """activations.gelu_backward."""
    return _binary("gelu" if approximate == "none" else "gelu_tanh", grad, x)


def softplus(x: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """activations.softplus."""
    return _unary("softplus", x, float(beta), float(threshold))


def softplus_backward(grad: Tensor, x: Tensor, beta: float, threshold: float) -> Tensor | None:
    """activations.softplus_backward."""
    return _binary("softplus", grad, x, float(beta), float(threshold))


def log_sigmoid(x: Tensor) -> Tensor:
    """activations._log_sigmoid."""
    return _unary("log_sigmoid", x)


def log_sigmoid_backward(grad: Tensor, x: Tensor) -> Tensor | None:
    """activations._log_sigmoid_backward."""
    return _binary("log_sigmoid", grad, x)


def elu(x: Tensor, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Tensor:
    """activations.elu."""
    return _unary("elu", x, float(alpha), float(scale), float(input_scale))


def elu_backward(
    grad: Tensor, alpha: float, scale: float, input_scale: float, is_result: bool, value: Tensor
) -> Tensor | None:
    """activations.elu_backward."""
    name = "elu_of_result" if is_result else "elu"
    return _binary(name, grad, value, float(alpha * scale), float(scale), float(input_scale))


def power(x: Tensor, exponent: float) -> Tensor | None:
    """activations.power, but for squares and for negative whole exponents."""
    if exponent in (0.5, -0.5):
        return pointwise.sqrt(x) if exponent > 0 else pointwise.rsqrt(x)
    if exponent != int(exponent) or abs(exponent) > 16:
        return _unary("log_power", x, float(exponent))
    n = int(exponent)
    if n < 1 or n == 2:
        return None
    rest = n.bit_length() - 1
    return _unary("whole_power", x, n - (1 << rest), rest)
