"""The functions of functions.py for one float64: the same IEEE operations in the same order, for use inside kernels.

Selects in place of branches, and polynomials written out, so that the compiler turns a loop over them into vector code.
Where the eager code looks whether any element is special, these compute both ways and select.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import cast

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from validator.exact.functions import (
    _COS,
    _ERF,
    _ERFCX,
    _EXP,
    _LEAST_NORMAL,
    _LN2,
    _LN2_HIGH,
    _LN2_LOW,
    _LOG,
    _LOG2_E,
    _MAGIC,
    _PI_HALF,
    _SIN,
    _SQRT_HALF,
    _SQRT_HALF_BITS,
    _TWO_PI,
)
from validator.exact.kernels.build import Code, Scalar, bits, from_bits, inline

_FIRST, _SECOND, _THIRD = _PI_HALF
_QUARTERS = 1.0 / (_TWO_PI / 4)
_TOP_BITS = -1 << 52


def _like(typing: Code, value: Code, model: Code) -> Code:
    def code(context: Code, builder: Code, signature: Code, args: Code) -> Code:
        return builder.fptrunc(args[0], ir.FloatType()) if model == types.float32 else args[0]

    return model(types.float64, model), code


def _horner(typing: Code, x: Code, coefficients: Code) -> Code:
    count = len(coefficients)

    def code(context: Code, builder: Code, signature: Code, args: Code) -> Code:
        each = [builder.extract_value(args[1], i) for i in range(count)]
        result = each.pop()
        while each:
            result = builder.fadd(builder.fmul(result, args[0]), each.pop())
        return result

    return types.float64(x, coefficients), code


like = cast(Callable[[float, Scalar], Scalar], intrinsic(_like))
"""A float64 rounded to the type of a second number."""
horner = cast(Callable[[float, Sequence[float]], float], intrinsic(_horner))
"""functions._horner, unrolled: a loop over the coefficients would keep the loop around it from vectorising."""


@inline
def settled(value: float, model: Scalar) -> Scalar:
    """products.settle: rounded to the type of `model`, zeros positive."""
    return like(value, model) + like(0.0, model)


@inline
def at_most(x: float, bound: float) -> float:
    """x.clamp(max=bound): NaN passes."""
    return bound if x > bound else x


@inline
def within(x: float, low: float, high: float) -> float:
    """x.clamp(low, high): NaN passes."""
    return at_most(low if x < low else x, high)


@inline
def _reduced_exp(x: float) -> tuple[float, float]:
    shifted = x * _LOG2_E + _MAGIC
    k = shifted - _MAGIC
    r = (x - k * _LN2_HIGH) - k * _LN2_LOW
    return horner(r, _EXP) * r * r + r, from_bits((bits(shifted) + 1023) << 52)


@inline
def exp(x: float) -> float:
    """functions.exp."""
    less_one, power = _reduced_exp(within(x, -709.0, 710.0))
    return (less_one + 1.0) * power


@inline
def expm1(x: float) -> float:
    """functions.expm1."""
    less_one, power = _reduced_exp(within(x, -709.0, 709.0))
    return less_one * power + (power - 1.0)


@inline
def sigmoid(x: float) -> float:
    """functions.sigmoid."""
    return 1.0 / (exp(-x) + 1.0)


@inline
def tanh(x: float) -> float:
    """functions.tanh."""
    grown = expm1(within(x, -20.0, 20.0) * 2.0)
    return grown / (grown + 2.0)


@inline
def _log_normal(x: float) -> Scalar:
    offset = bits(x) - _SQRT_HALF_BITS
    k = float(offset >> 52)
    f = from_bits(bits(x) - (offset & _TOP_BITS)) - 1.0
    s = f / (f + 2.0)
    z = s * s
    half_square = f * f * 0.5
    series = (horner(z, _LOG) * z + half_square) * s + k * _LN2_LOW
    return k * _LN2_HIGH - ((half_square - series) - f)


@inline
def log(x: float) -> float:
    """functions.log."""
    subnormal = (x > 0.0) & (x < _LEAST_NORMAL)
    normal = (x >= _LEAST_NORMAL) & (x < math.inf)
    scaled = x * 2.0**54
    special = scaled if subnormal else 1.0
    result = _log_normal(x if normal else special)
    lowered = result - 54 * _LN2
    result = lowered if subnormal else result
    result = -math.inf if x == 0.0 else result
    result = math.inf if x == math.inf else result
    return math.nan if (x < 0.0) | (x != x) else result


@inline
def log1p(x: float) -> float:
    """functions.log1p."""
    raised = x + 1.0
    plain = log(raised)
    lost = ((raised - 1.0) - x) / raised
    mended = plain - lost
    return plain if (x == -1.0) | (x == math.inf) else mended


@inline
def softplus(x: float) -> Scalar:
    """functions.softplus. The logarithm's argument lies in [1, 2], or is NaN, which the lost part carries on."""
    grown = exp(-abs(x))
    raised = grown + 1.0
    lost = ((raised - 1.0) - grown) / raised
    return (_log_normal(raised) - lost) + (0.0 if x < 0.0 else x)


@inline
def erfcx(z: float) -> float:
    """functions._erfcx."""
    t = 1.0 / (z * 0.3 + 1.0)
    return horner(t * 2.0 - 1.0, _ERFCX)


@inline
def _upper_tail(z: float) -> float:
    return exp(-(z * z)) * erfcx(z)


@inline
def erfc(x: float) -> float:
    """functions.erfc."""
    tail = _upper_tail(at_most(abs(x), 28.0))
    left = 2.0 - tail
    return left if x < 0.0 else tail


@inline
def erf(x: float) -> float:
    """functions.erf."""
    size = at_most(abs(x), 28.0)
    centre = horner(size * size, _ERF) * size
    outer = 1.0 - _upper_tail(size)
    result = centre if size < 0.5 else outer
    return -result if x < 0.0 else result


@inline
def normal_cdf(x: float) -> tuple[float, float]:
    """functions.normal_cdf."""
    bell = exp(x * x * -0.5)
    tail = erfcx(at_most(abs(x) * _SQRT_HALF, 28.0)) * bell * 0.5
    right = 1.0 - tail
    return (tail if x < 0.0 else right), bell


@inline
def sqrt(x: float) -> float:
    """functions.sqrt: the processor's own instruction is correctly rounded. The sum gives -0 its positive sign."""
    return math.sqrt(x) + 0.0


@inline
def rsqrt(x: float) -> float:
    """functions.rsqrt."""
    return 1.0 / sqrt(x)


@inline
def log_power(x: float, y: float) -> float:
    """functions.power where y is neither whole nor a half."""
    return exp(log(x) * y)


@inline
def _quarter_turns(r: float, turn: int) -> float:
    z = r * r
    sine = horner(z, _SIN) * z * r + r
    cosine = ((horner(z, _COS) * z * z) - z * 0.5) + 1.0
    value = cosine if turn & 1 != 0 else sine
    return -value if turn & 2 != 0 else value


@inline
def _reduced_angle(x: float) -> tuple[float, int]:
    # The low bits of the shifted number are k: see _MAGIC. A conversion would not vectorise on every processor.
    shifted = x * _QUARTERS + _MAGIC
    k = shifted - _MAGIC
    return ((x - k * _FIRST) - k * _SECOND) - k * _THIRD, bits(shifted)


@inline
def sin(x: float) -> float:
    """functions.sin, for |x| <= 2^20."""
    r, quarter = _reduced_angle(x)
    return _quarter_turns(r, quarter)


@inline
def cos(x: float) -> float:
    """functions.cos, for |x| <= 2^20."""
    r, quarter = _reduced_angle(x)
    return _quarter_turns(r, quarter + 1)


@inline
def cos_sin_turns(u: float) -> tuple[float, float]:
    """functions.cos_sin_turns."""
    shifted = u * 4.0 + _MAGIC
    r = (u - (shifted - _MAGIC) * 0.25) * _TWO_PI
    quarter = bits(shifted)
    return _quarter_turns(r, quarter + 1), _quarter_turns(r, quarter)
