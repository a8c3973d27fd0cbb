"""The functions of functions.py for blocks of float64: the same IEEE operations in the same order.

Where the eager code looks whether any element is special, these compute both ways and select, as kernels/scalar.py does
on the CPU. Constants are those of functions.py: Triton counts them to the source of a kernel when it looks for compiled
code on disk.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import triton.language as tl

from validator.exact import functions
from validator.exact.kernels.cuda.launch import jit


def _polynomial(coefficients: Sequence[float]) -> tuple[tl.constexpr, tl.constexpr]:
    """Coefficients and their number, for `horner`: inside a kernel no length can be asked for."""
    return tl.constexpr(tuple(coefficients)), tl.constexpr(len(coefficients))


_EXP, _EXP_TERMS = _polynomial(functions._EXP)
_LOG, _LOG_TERMS = _polynomial(functions._LOG)
_ERFCX, _ERFCX_TERMS = _polynomial(functions._ERFCX)
_ERF, _ERF_TERMS = _polynomial(functions._ERF)
_SIN, _SIN_TERMS = _polynomial(functions._SIN)
_COS, _COS_TERMS = _polynomial(functions._COS)
_MAGIC = tl.constexpr(functions._MAGIC)
_LOG2_E = tl.constexpr(functions._LOG2_E)
_LN2_HIGH = tl.constexpr(functions._LN2_HIGH)
_LN2_LOW = tl.constexpr(functions._LN2_LOW)
_LN2_TIMES_54 = tl.constexpr(54 * functions._LN2)
_TWO_TO_54 = tl.constexpr(2.0**54)
_LEAST_NORMAL = tl.constexpr(functions._LEAST_NORMAL)
_SQRT_HALF = tl.constexpr(functions._SQRT_HALF)
_SQRT_HALF_BITS = tl.constexpr(functions._SQRT_HALF_BITS)
_TOP_BITS = tl.constexpr(-1 << 52)
_FIRST, _SECOND, _THIRD = (tl.constexpr(piece) for piece in functions._PI_HALF)
_TWO_PI = tl.constexpr(functions._TWO_PI)
_QUARTERS = tl.constexpr(1.0 / (functions._TWO_PI / 4))
_INFINITY = tl.constexpr(math.inf)
_MINUS_INFINITY = tl.constexpr(-math.inf)


@jit
def bits(x: tl.tensor) -> tl.tensor:
    """The 64 bits of a float64 as an int64."""
    return x.to(tl.int64, bitcast=True)


@jit
def from_bits(x: tl.tensor) -> tl.tensor:
    """The float64 that has these 64 bits."""
    return x.to(tl.float64, bitcast=True)


@jit
def negative(x: tl.tensor) -> tl.tensor:
    """-x, of zeros too."""
    return x * -1.0


@jit
def settled(value: tl.tensor, target: tl.tensor) -> tl.tensor:
    """products.settle: rounded to the dtype that `target` points to, zeros positive."""
    return value.to(target.dtype.element_ty) + 0.0


@jit
def at_most(x: tl.tensor, bound: tl.constexpr) -> tl.tensor:
    """x.clamp(max=bound): NaN passes."""
    return tl.where(x > bound, bound, x)


@jit
def within(x: tl.tensor, low: tl.constexpr, high: tl.constexpr) -> tl.tensor:
    """x.clamp(low, high): NaN passes."""
    return at_most(tl.where(x < low, low, x), high)


@jit
def horner(x: tl.tensor, coefficients: tl.constexpr, terms: tl.constexpr) -> tl.tensor:
    """A polynomial by Horner's rule, unrolled."""
    result = x * coefficients[terms - 1] + coefficients[terms - 2]
    for i in tl.static_range(2, terms):
        result = result * x + coefficients[terms - 1 - i]
    return result


@jit
def _reduced_exp(x: tl.tensor) -> tl.tensor:
    shifted = x * _LOG2_E + _MAGIC
    k = shifted - _MAGIC
    r = (x - k * _LN2_HIGH) - k * _LN2_LOW
    return horner(r, _EXP, _EXP_TERMS) * r * r + r, from_bits((bits(shifted) + 1023) << 52)


@jit
def exp(x: tl.tensor) -> tl.tensor:
    """functions.exp."""
    less_one, power = _reduced_exp(within(x, -709.0, 710.0))
    return (less_one + 1.0) * power


@jit
def expm1(x: tl.tensor) -> tl.tensor:
    """functions.expm1."""
    less_one, power = _reduced_exp(within(x, -709.0, 709.0))
    return less_one * power + (power - 1.0)


@jit
def sigmoid(x: tl.tensor) -> tl.tensor:
    """functions.sigmoid."""
    return 1.0 / (exp(negative(x)) + 1.0)


@jit
def tanh(x: tl.tensor) -> tl.tensor:
    """functions.tanh."""
    grown = expm1(within(x, -20.0, 20.0) * 2.0)
    return grown / (grown + 2.0)


@jit
def _log_normal(x: tl.tensor) -> tl.tensor:
    offset = bits(x) - _SQRT_HALF_BITS
    k = (offset >> 52).to(tl.float64)
    f = from_bits(bits(x) - (offset & _TOP_BITS)) - 1.0
    s = f / (f + 2.0)
    z = s * s
    half_square = f * f * 0.5
    series = (horner(z, _LOG, _LOG_TERMS) * z + half_square) * s + k * _LN2_LOW
    return k * _LN2_HIGH - ((half_square - series) - f)


@jit
def log(x: tl.tensor) -> tl.tensor:
    """functions.log."""
    subnormal = (x > 0.0) & (x < _LEAST_NORMAL)
    normal = (x >= _LEAST_NORMAL) & (x < _INFINITY)
    special = tl.where(subnormal, x * _TWO_TO_54, 1.0)
    result = _log_normal(tl.where(normal, x, special))
    result = tl.where(subnormal, result - _LN2_TIMES_54, result)
    result = tl.where(x == 0.0, _MINUS_INFINITY, result)
    result = tl.where(x == _INFINITY, _INFINITY, result)
    # Not a constant above: Triton asks whether constants still have the values they had, and NaN never has.
    return tl.where((x < 0.0) | (x != x), float("nan"), result)


@jit
def log1p(x: tl.tensor) -> tl.tensor:
    """functions.log1p."""
    raised = x + 1.0
    plain = log(raised)
    lost = ((raised - 1.0) - x) / raised
    return tl.where((x == -1.0) | (x == _INFINITY), plain, plain - lost)


@jit
def softplus(x: tl.tensor) -> tl.tensor:
    """functions.softplus. The logarithm's argument lies in [1, 2], or is NaN, which the lost part carries on."""
    grown = exp(negative(tl.abs(x)))
    raised = grown + 1.0
    lost = ((raised - 1.0) - grown) / raised
    return (_log_normal(raised) - lost) + tl.where(x < 0.0, 0.0, x)


@jit
def erfcx(z: tl.tensor) -> tl.tensor:
    """functions._erfcx."""
    t = 1.0 / (z * 0.3 + 1.0)
    return horner(t * 2.0 - 1.0, _ERFCX, _ERFCX_TERMS)


@jit
def _upper_tail(z: tl.tensor) -> tl.tensor:
    return exp(negative(z * z)) * erfcx(z)


@jit
def erfc(x: tl.tensor) -> tl.tensor:
    """functions.erfc."""
    tail = _upper_tail(at_most(tl.abs(x), 28.0))
    return tl.where(x < 0.0, 2.0 - tail, tail)


@jit
def erf(x: tl.tensor) -> tl.tensor:
    """functions.erf."""
    size = at_most(tl.abs(x), 28.0)
    centre = horner(size * size, _ERF, _ERF_TERMS) * size
    result = tl.where(size < 0.5, centre, 1.0 - _upper_tail(size))
    return tl.where(x < 0.0, negative(result), result)


@jit
def normal_cdf(x: tl.tensor) -> tl.tensor:
    """functions.normal_cdf."""
    bell = exp(x * x * -0.5)
    tail = erfcx(at_most(tl.abs(x) * _SQRT_HALF, 28.0)) * bell * 0.5
    return tl.where(x < 0.0, tail, 1.0 - tail), bell


@jit
def sqrt(x: tl.tensor) -> tl.tensor:
    """functions.sqrt: sqrt.rn.f64 is correctly rounded. The sum gives -0 its positive sign."""
    return tl.sqrt(x) + 0.0


@jit
def rsqrt(x: tl.tensor) -> tl.tensor:
    """functions.rsqrt."""
    return 1.0 / sqrt(x)


@jit
def log_power(x: tl.tensor, exponent: tl.constexpr) -> tl.tensor:
    """functions.power where the exponent is neither whole nor a half."""
    return exp(log(x) * exponent)


@jit
def whole_power(x: tl.tensor, low: tl.constexpr, rest: tl.constexpr) -> tl.tensor:
    """x^n for n = 1 followed by the `rest` bits of `low`, left to right."""
    result = x
    for i in tl.static_range(rest):
        result = result * result
        if (low >> (rest - 1 - i)) & 1:
            result = result * x
    return result


@jit
def _quarter_turns(r: tl.tensor, turn: tl.tensor) -> tl.tensor:
    z = r * r
    sine = horner(z, _SIN, _SIN_TERMS) * z * r + r
    cosine = ((horner(z, _COS, _COS_TERMS) * z * z) - z * 0.5) + 1.0
    value = tl.where((turn & 1) != 0, cosine, sine)
    return tl.where((turn & 2) != 0, negative(value), value)


@jit
def _reduced_angle(x: tl.tensor) -> tl.tensor:
    shifted = x * _QUARTERS + _MAGIC
    k = shifted - _MAGIC
    return ((x - k * _FIRST) - k * _SECOND) - k * _THIRD, bits(shifted)


@jit
def sin(x: tl.tensor) -> tl.tensor:
    """functions.sin, for |x| <= 2^20."""
    r, quarter = _reduced_angle(x)
    return _quarter_turns(r, quarter)


@jit
def cos(x: tl.tensor) -> tl.tensor:
    """functions.cos, for |x| <= 2^20."""
    r, quarter = _reduced_angle(x)
    return _quarter_turns(r, quarter + 1)


@jit
def cos_sin_turns(u: tl.tensor) -> tl.tensor:
    """functions.cos_sin_turns."""
    shifted = u * 4.0 + _MAGIC
    r = (u - (shifted - _MAGIC) * 0.25) * _TWO_PI
    quarter = bits(shifted)
    return _quarter_turns(r, quarter + 1), _quarter_turns(r, quarter)
