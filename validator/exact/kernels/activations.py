"""The rules of activations.py, one element at a time: the same operations, in the same order and dtypes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from validator.exact.kernels import pointwise, scalar
from validator.exact.kernels.build import Array, Scalar, inline, kernel
from validator.exact.kernels.parallel import split
from validator.exact.kernels.pointwise import binary, dense, flat, over_one, over_two, unary
from validator.exact.kernels.scalar import like, settled
from validator.exact.rules.activations import _GELU_CUBIC, _INVERSE_SQRT_TWO_PI, _TWO_SQRT_TWO_OVER_PI

_BLOCK = 512
"""Elements whose powers are built side by side: they stay in the first-level cache."""


@inline
def _sigmoid_backward(grad: Scalar, y: Scalar) -> Scalar:
    wide = np.float64(y)
    return settled((1.0 - wide) * wide * np.float64(grad), y)


@inline
def _tanh_backward(grad: Scalar, y: Scalar) -> Scalar:
    wide = np.float64(y)
    return settled((1.0 - wide * wide) * np.float64(grad), y)


@inline
def _silu(x: Scalar) -> Scalar:
    wide = np.float64(x)
    return settled(scalar.sigmoid(wide) * wide, x)


@inline
def _silu_backward(grad: Scalar, x: Scalar) -> Scalar:
    # Every step in the working dtype, as the rule has it.
    one = like(1.0, x)
    s = settled(scalar.sigmoid(np.float64(x)), x)
    return (grad * s) * (x * (one - s) + one) + like(0.0, x)


@inline
def _gelu(x: Scalar) -> Scalar:
    wide = np.float64(x)
    return settled(scalar.normal_cdf(wide)[0] * wide, x)


@inline
def _gelu_backward(grad: Scalar, x: Scalar) -> Scalar:
    wide = np.float64(x)
    share, bell = scalar.normal_cdf(wide)
    slope = bell * _INVERSE_SQRT_TWO_PI * wide + share
    return settled(slope * np.float64(grad), x)


@inline
def _gelu_inner(x: float) -> float:
    return (x * x * _GELU_CUBIC + 1.0) * x * _TWO_SQRT_TWO_OVER_PI


@inline
def _gelu_tanh(x: Scalar) -> Scalar:
    wide = np.float64(x)
    return settled(scalar.sigmoid(_gelu_inner(wide)) * wide, x)


@inline
def _gelu_tanh_backward(grad: Scalar, x: Scalar) -> Scalar:
    wide = np.float64(x)
    s = scalar.sigmoid(_gelu_inner(wide))
    steep = (wide * wide * (3 * _GELU_CUBIC) + 1.0) * _TWO_SQRT_TWO_OVER_PI
    slope = (1.0 - s) * s * steep * wide + s
    return settled(slope * np.float64(grad), x)


@inline
def _softplus(x: Scalar, beta: float, threshold: float) -> Scalar:
    scaled = np.float64(x) * beta
    value = settled(scalar.softplus(scaled) / beta, x)
    return x if scaled > threshold else value


@inline
def _softplus_backward(grad: Scalar, x: Scalar, beta: float, threshold: float) -> Scalar:
    scaled = np.float64(x) * beta
    value = settled(scalar.sigmoid(scaled) * np.float64(grad), x)
    return grad if scaled > threshold else value


@inline
def _log_sigmoid(x: Scalar) -> Scalar:
    return settled(-scalar.softplus(-np.float64(x)), x)


@inline
def _log_sigmoid_backward(grad: Scalar, x: Scalar) -> Scalar:
    return settled(scalar.sigmoid(-np.float64(x)) * np.float64(grad), x)


@inline
def _elu(x: Scalar, alpha: float, scale: float, input_scale: float) -> Scalar:
    wide = np.float64(x)
    left = scalar.expm1(wide * input_scale) * alpha * scale
    right = wide * scale
    return settled(right if wide > 0.0 else left, x)


@inline
def _elu_backward(grad: Scalar, x: Scalar, both: float, scale: float, input_scale: float) -> Scalar:
    wide = np.float64(x)
    left = scalar.exp(wide * input_scale) * both * input_scale
    return settled((scale if wide > 0.0 else left) * np.float64(grad), x)


@inline
def _elu_backward_of_result(grad: Scalar, y: Scalar, both: float, scale: float, input_scale: float) -> Scalar:
    wide = np.float64(y)
    left = (wide + both) * input_scale
    return settled((scale if wide > 0.0 else left) * np.float64(grad), y)


@inline
def _log_power(x: Scalar, exponent: float) -> Scalar:
    return settled(scalar.log_power(np.float64(x), exponent), x)


_SIGMOID_BACKWARD = over_two(_sigmoid_backward)
_TANH_BACKWARD = over_two(_tanh_backward)
_SILU, _SILU_BACKWARD = over_one(_silu), over_two(_silu_backward)
_GELU = {"none": over_one(_gelu), "tanh": over_one(_gelu_tanh)}
_GELU_BACKWARD = {"none": over_two(_gelu_backward), "tanh": over_two(_gelu_tanh_backward)}
_SOFTPLUS, _SOFTPLUS_BACKWARD = over_one(_softplus), over_two(_softplus_backward)
_LOG_SIGMOID, _LOG_SIGMOID_BACKWARD = over_one(_log_sigmoid), over_two(_log_sigmoid_backward)
_ELU, _ELU_BACKWARD, _ELU_BACKWARD_OF_RESULT = (
    over_one(_elu),
    over_two(_elu_backward),
    over_two(_elu_backward_of_result),
)
_LOG_POWER = over_one(_log_power)


def sigmoid_backward(grad: Tensor, y: Tensor) -> Tensor | None:
    """activations.sigmoid_backward."""
    return binary(_SIGMOID_BACKWARD, grad, y)


def tanh_backward(grad: Tensor, y: Tensor) -> Tensor | None:
    """activations.tanh_backward."""
    return binary(_TANH_BACKWARD, grad, y)


def silu(x: Tensor) -> Tensor:
    """activations.silu."""
    return unary(_SILU, x)


def silu_backward(grad: Tensor, x: Tensor) -> Tensor | None:
    """activations.silu_backward."""
    return binary(_SILU_BACKWARD, grad, x)


def gelu(x: Tensor, *, approximate: str = "none") -> Tensor:
    """activations.gelu."""
    return unary(_GELU[approximate], x)


def gelu_backward(grad: Tensor, x: Tensor, *, approximate: str = "none") -> Tensor | None:
    """activations.gelu_backward."""
    return binary(_GELU_BACKWARD[approximate], grad, x)


def softplus(x: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """activations.softplus."""
    return unary(_SOFTPLUS, x, float(beta), float(threshold))


def softplus_backward(grad: Tensor, x: Tensor, beta: float, threshold: float) -> Tensor | None:
    """activations.softplus_backward."""
    return binary(_SOFTPLUS_BACKWARD, grad, x, float(beta), float(threshold))


def log_sigmoid(x: Tensor) -> Tensor:
    """activations._log_sigmoid."""
    return unary(_LOG_SIGMOID, x)


def log_sigmoid_backward(grad: Tensor, x: Tensor) -> Tensor | None:
    """activations._log_sigmoid_backward."""
    return binary(_LOG_SIGMOID_BACKWARD, grad, x)


def elu(x: Tensor, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Tensor:
    """activations.elu."""
    return unary(_ELU, x, float(alpha), float(scale), float(input_scale))


def elu_backward(
    grad: Tensor, alpha: float, scale: float, input_scale: float, is_result: bool, value: Tensor
) -> Tensor | None:
    """activations.elu_backward."""
    run = _ELU_BACKWARD_OF_RESULT if is_result else _ELU_BACKWARD
    return binary(run, grad, value, float(alpha * scale), float(scale), float(input_scale))


@kernel
def _whole_power(x: Array, out: Array, low: int, rest: int) -> None:
    """x^n for n = 1 followed by the `rest` bits of `low`, left to right, n > 0."""
    value, result = np.empty(_BLOCK, np.float64), np.empty(_BLOCK, np.float64)
    for first in range(0, x.size, _BLOCK):
        source, target = x[first : first + _BLOCK], out[first : first + _BLOCK]
        width = source.size
        for i in range(width):
            value[i] = np.float64(source[i])
            result[i] = value[i]
        for place in range(rest - 1, -1, -1):
            for i in range(width):
                result[i] *= result[i]
            if (low >> place) & 1 != 0:
                for i in range(width):
                    result[i] *= value[i]
        for i in range(width):
            target[i] = settled(result[i], source[i])


def power(x: Tensor, exponent: float) -> Tensor | None:
    """activations.power, but for squares and for negative whole exponents."""
    if exponent in (0.5, -0.5):
        return pointwise.sqrt(x) if exponent > 0 else pointwise.rsqrt(x)
    if exponent != int(exponent) or abs(exponent) > 16:
        return unary(_LOG_POWER, x, float(exponent))
    n = int(exponent)
    if n < 1 or n == 2:
        return None
    out = torch.empty_like(x)
    source, target = flat(dense(x, out)), flat(out)
    rest = n.bit_length() - 1
    split(x.numel(), 1, lambda start, stop: _whole_power(source[start:stop], target[start:stop], n - (1 << rest), rest))
    return out
