"""Transcendental functions as fixed sequences of correctly rounded float64 operations.

Every function takes a float64 tensor and returns a new float64 tensor; the caller rounds once to the working dtype.
Each call is one IEEE operation for each element (add, sub, mul, div, or integer work on the bits), always in the same
order and never a fused multiply-add: torch calls are separate kernels, so no compiler may contract across them. Results
depend on the element alone: not on the device, the instruction set, or the element's place in the tensor.
On a CPU a kernel of the same operations may stand in (fused.py, kernels/scalar.py).

Error, in units of the last place of float64 on normal results: exp, log, log1p, sigmoid < 2; expm1, tanh, sin, cos < 4;
erf < 6; erfc, normal_cdf < 100 (their left tails: relative error 2^-46); sqrt 0.5; power < 2 + |y log x|. Rounded to
float32 this differs from the correctly rounded value only where that lies within about 2^-28 of a tie. Polynomials are
Chebyshev fits of the stated degree on the reduced interval; tests compare all of them with mpmath.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from validator.exact.errors import UnsupportedOp
from validator.exact.fused import fused

_INT = torch.int64
_MAGIC = 1.5 * 2.0**52
"""Adding it to |x| < 2^51 rounds x to an integer, which then stands in the low bits of the sum."""
_LOG2_E = 1.4426950408889634
_LN2_HIGH = 0.6931471805598903
"""ln 2 cut to 42 bits: its product with an exponent of 11 bits is exact."""
_LN2_LOW = 5.497923018708371e-14
_LN2 = 0.6931471805599453
_PI_HALF = (1.5707963267341256, 6.077100506303966e-11, 2.0222662487959506e-21)
"""pi/2 in pieces of 33, 33 and 53 bits: products of the first two with integers below 2^20 are exact."""
_TWO_PI = 6.283185307179586
_SQRT_HALF = 0.7071067811865476
_SQRT_HALF_BITS = 0x3FE6A09E667F3BCD
_LEAST_NORMAL = 2.0**-1022
_SPLIT = 134217729.0
"""2^27 + 1: Dekker's constant for cutting a double into two halves of 26 bits."""
_TRIGONOMETRIC_LIMIT = 2.0**20

# (exp(r) - 1 - r) / r^2 on |r| <= ln(2)/2; error 1.3e-17 of exp
_EXP = (
    0.5000000000000001, 0.16666666666666669, 0.04166666666662413, 0.008333333333330062, 0.0013888888917213717,
    0.00019841269863053618, 2.4801521295954376e-05, 2.7557268459997064e-06, 2.7620088445409746e-07,
    2.510038549551032e-08,
)  # fmt: skip
# (2 atanh(s) / s - 2) / s^2 in s^2, on s^2 <= 0.0295; error 1.6e-18 of log
_LOG = (
    0.666666666666667, 0.39999999999899444, 0.2857142862600327, 0.22222211130259878, 0.18182889455674947,
    0.15331710618210773, 0.14616585424888623,
)  # fmt: skip
# exp(z^2) erfc(z) in 2 t - 1 with t = 1 / (1 + 0.3 z), on 0 <= z <= 28; error 3.2e-16
_ERFCX = (
    0.16248996092989854, 0.300751739307929, 0.23765231740017742, 0.15874987637684773,
    0.08784015637665803, 0.038681542480311526, 0.012378773499340169, 0.002087181351016742,
    -0.000331542840192959, -0.0002941750909773388, -3.713404830460242e-05, 2.591870251378392e-05,
    8.67339065130978e-06, -2.309971594251762e-06, -1.3872920471398565e-06, 2.6480446089130886e-07,
    2.0513713728705456e-07, -4.538361842621182e-08, -2.2620707749242137e-08, 7.490500187342851e-09,
)  # fmt: skip
# erf(x) / x in x^2, on |x| <= 1/2; error 4.3e-18
_ERF = (
    1.1283791670955126, -0.37612638903183476, 0.11283791670925353, -0.026866170632887928, 0.00522397737302147,
    -0.0008548297753674966, 0.00012053335124353741, -1.4845849259707869e-05, 1.4725865480556744e-06,
)  # fmt: skip
# (sin(r) / r - 1) / r^2 and (cos(r) - 1 + r^2 / 2) / r^4 in r^2, on |r| <= pi/4; errors 9.9e-18 and 4.9e-19
_SIN = (
    -0.16666666666666666, 0.008333333333330948, -0.00019841269836756774, 2.7557316101617874e-06, -2.505113165023518e-08,
    1.5918115263265974e-10,
)  # fmt: skip
_COS = (
    0.041666666666666664, -0.0013888888888887398, 2.480158729876456e-05, -2.7557317271145144e-07, 2.087614614655861e-09,
    -1.1382623647474604e-11,
)  # fmt: skip


def _horner(x: Tensor, coefficients: Sequence[float]) -> Tensor:
    result = torch.mul(x, coefficients[-1]).add_(coefficients[-2])
    for coefficient in reversed(coefficients[:-2]):
        result.mul_(x).add_(coefficient)
    return result


def _reduced_exp(x: Tensor) -> tuple[Tensor, Tensor]:
    """(exp(r) - 1, 2^k) with x = k ln 2 + r; overwrites `x`, which lies in [-709, 710]."""
    shifted = torch.mul(x, _LOG2_E).add_(_MAGIC)
    k = torch.sub(shifted, _MAGIC)
    r = x.sub_(torch.mul(k, _LN2_HIGH)).sub_(k.mul_(_LN2_LOW))
    less_one = _horner(r, _EXP).mul_(r).mul_(r).add_(r)
    # The low 12 bits of `shifted` are k: biased and moved to the exponent field they make 2^k, 0 and infinity included.
    power = shifted.view(_INT).add_(1023).bitwise_left_shift_(52).view(torch.float64)
    return less_one, power


@fused("pointwise.exp", torch.float64)
def exp(x: Tensor) -> Tensor:
    """e^x; 0 below -708.8 (no subnormal results), infinity above 709.4."""
    less_one, power = _reduced_exp(x.clamp(-709.0, 710.0))
    return less_one.add_(1.0).mul_(power)


@fused("pointwise.expm1", torch.float64)
def expm1(x: Tensor) -> Tensor:
    """e^x - 1, accurate near 0; 2^1023 is as far as it goes above 709."""
    less_one, power = _reduced_exp(x.clamp(-709.0, 709.0))
    return less_one.mul_(power).add_(power.sub_(1.0))


@fused("pointwise.sigmoid", torch.float64)
def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + e^-x)."""
    return exp(torch.neg(x)).add_(1.0).reciprocal_()


@fused("pointwise.tanh", torch.float64)
def tanh(x: Tensor) -> Tensor:
    """(e^2x - 1) / (e^2x + 1). Beyond 20 it is 1 to the last bit."""
    grown = expm1(x.clamp(-20.0, 20.0).mul_(2.0))
    return torch.div(grown, torch.add(grown, 2.0))


@fused("pointwise.log", torch.float64)
def log(x: Tensor) -> Tensor:
    """Natural logarithm; -infinity at 0, NaN below."""
    special = torch.logical_and(x >= _LEAST_NORMAL, x < torch.inf).logical_not_()
    if special.any():
        return _log_with_special(x, special)
    return _log_normal(x)


def _log_normal(x: Tensor) -> Tensor:
    # x = 2^k m with m in [sqrt(1/2), sqrt(2)); then fdlibm's arrangement of log(1 + f) by s = f / (2 + f).
    bits = x.view(_INT)
    offset = torch.sub(bits, _SQRT_HALF_BITS)
    k = offset.bitwise_right_shift(52).to(torch.float64)
    f = torch.sub(bits, offset.bitwise_and_(-1 << 52)).view(torch.float64).sub_(1.0)
    s = torch.div(f, torch.add(f, 2.0))
    z = torch.mul(s, s)
    half_square = torch.mul(f, f).mul_(0.5)
    series = _horner(z, _LOG).mul_(z).add_(half_square).mul_(s).add_(torch.mul(k, _LN2_LOW))
    return k.mul_(_LN2_HIGH).sub_(half_square.sub_(series).sub_(f))


def _log_with_special(x: Tensor, special: Tensor) -> Tensor:
    subnormal = torch.logical_and(x > 0, x < _LEAST_NORMAL)
    result = _log_normal(torch.where(special, torch.where(subnormal, x * 2.0**54, 1.0), x))
    result = torch.where(subnormal, result - 54 * _LN2, result)
    result = torch.where(x == 0, -torch.inf, result)
    result = torch.where(x == torch.inf, torch.inf, result)
    return torch.where(torch.logical_or(x < 0, x != x), torch.nan, result)


@fused("pointwise.log1p", torch.float64)
def log1p(x: Tensor) -> Tensor:
    """log(1 + x), accurate near 0: the rounding error of 1 + x is added back."""
    sum_ = torch.add(x, 1.0)
    plain = log(sum_)
    lost = torch.sub(sum_, 1.0).sub_(x).div_(sum_)
    edge = torch.logical_or(x == -1.0, x == torch.inf)
    return torch.where(edge, plain, torch.sub(plain, lost))


@fused("pointwise.softplus", torch.float64)
def softplus(x: Tensor) -> Tensor:
    """log(1 + e^x) without overflow."""
    return log1p(exp(torch.abs(x).neg_())).add_(x.clamp(min=0.0))


def _erfcx(z: Tensor) -> Tensor:
    t = torch.mul(z, 0.3).add_(1.0).reciprocal_()
    return _horner(t.mul_(2.0).sub_(1.0), _ERFCX)


def _upper_tail(z: Tensor) -> Tensor:
    """erfc(z) for z in [0, 28]."""
    return exp(torch.mul(z, z).neg_()).mul_(_erfcx(z))


@fused("pointwise.erfc", torch.float64)
def erfc(x: Tensor) -> Tensor:
    """1 - erf(x), with its small relative error kept in the right tail."""
    tail = _upper_tail(torch.abs(x).clamp_(max=28.0))
    return torch.where(x < 0, 2.0 - tail, tail)


@fused("pointwise.erf", torch.float64)
def erf(x: Tensor) -> Tensor:
    """The error function."""
    size = torch.abs(x).clamp_(max=28.0)
    centre = _horner(torch.mul(size, size), _ERF).mul_(size)
    outer = 1.0 - _upper_tail(size)
    result = torch.where(size < 0.5, centre, outer)
    return torch.where(x < 0, torch.neg(result), result)


def normal_cdf(x: Tensor) -> tuple[Tensor, Tensor]:
    """The standard normal's distribution function and exp(-x^2 / 2), which share an exponential."""
    bell = exp(torch.mul(x, x).mul_(-0.5))
    tail = _erfcx(torch.abs(x).mul_(_SQRT_HALF).clamp_(max=28.0)).mul_(bell).mul_(0.5)
    return torch.where(x < 0, tail, 1.0 - tail), bell


@fused("pointwise.sqrt", torch.float64)
def sqrt(x: Tensor) -> Tensor:
    """Correctly rounded square root. torch.sqrt is not: on x86 it may go to a vector library of 1 ulp or worse."""
    special = torch.logical_and(x >= _LEAST_NORMAL, x < torch.inf).logical_not_()
    if not special.any():
        return _sqrt_normal(x)
    subnormal = torch.logical_and(x > 0, x < _LEAST_NORMAL)
    result = _sqrt_normal(torch.where(special, torch.where(subnormal, x * 2.0**54, 1.0), x))
    result = torch.where(subnormal, result * 2.0**-27, result)
    result = torch.where(torch.logical_or(x == 0, x == torch.inf), x + 0.0, result)
    return torch.where(torch.logical_or(x < 0, x != x), torch.nan, result)


def _sqrt_normal(x: Tensor) -> Tensor:
    # x = m * 4^h with m in [1, 4): no step below can overflow or underflow.
    bits = x.view(_INT)
    half = bits.bitwise_right_shift(52).sub_(1023).bitwise_right_shift_(1)
    m = torch.sub(bits, torch.bitwise_left_shift(half, 53)).view(torch.float64)
    root = _nearest_root(m, _heron(m, torch.sqrt(m)))
    return root.view(_INT).add_(half.bitwise_left_shift_(52)).view(torch.float64)


def _heron(m: Tensor, guess: Tensor) -> Tensor:
    """One Newton step: any guess with relative error below 2^-27 becomes good to one unit in the last place."""
    return torch.div(m, guess).add_(guess).mul_(0.5)


def _nearest_root(m: Tensor, guess: Tensor) -> Tensor:
    """The double nearest to sqrt(m), from a guess at most a few units away.

    A Newton step with the exact residual lands on the nearest double or, when the root is almost a midpoint, beside
    it. With r = m - s^2 exact and u the gap to a neighbour, sqrt(m) > s + u/2 means r > s u + u^2/4; r and s u are
    multiples of u^2, so that is r > s u; likewise r <= -s u below. At a power of two the lower gap is half the upper.
    """
    s = torch.add(guess, torch.div(_residual(m, guess), torch.mul(guess, 2.0)))
    r = _residual(m, s)
    above = torch.add(s.view(_INT), 1).view(torch.float64)
    below = torch.sub(s.view(_INT), 1).view(torch.float64)
    up = r > torch.sub(above, s).mul_(s)
    down = r <= torch.sub(below, s).mul_(s)
    return torch.where(up, above, torch.where(down, below, s))


def _residual(m: Tensor, s: Tensor) -> Tensor:
    """m - s * s without rounding error (Dekker's product), for s within a few units of sqrt(m)."""
    wide = torch.mul(s, _SPLIT)
    high = torch.sub(wide, torch.sub(wide, s))
    low = torch.sub(s, high)
    square = torch.mul(s, s)
    error = torch.mul(high, high).sub_(square).add_(torch.mul(high, low).mul_(2.0)).add_(torch.mul(low, low))
    return torch.sub(m, square).sub_(error)


def sqrt_rounded_to_float32(x: Tensor) -> Tensor:
    """Square root of float64 values that hold float32 numbers, to be rounded to float32 next: then correctly rounded.

    The root of a float32 number is never closer to a midpoint of two float32 numbers than 2^-27 of their distance, that
    is four units in the last place of float64: Heron's one or two units of error cannot cross it.
    """
    guess = torch.sqrt(x)
    finite_positive = torch.logical_and(x > 0, x < torch.inf)
    return torch.where(finite_positive, _heron(x, guess), torch.where(x == 0, torch.zeros_like(x), guess))


@fused("pointwise.rsqrt", torch.float64)
def rsqrt(x: Tensor) -> Tensor:
    """1 / sqrt(x) in two correctly rounded operations."""
    return sqrt(x).reciprocal_()


def power(x: Tensor, y: float) -> Tensor:
    """x^y for a scalar y: products for whole |y| <= 16, roots for +-1/2, else exp(y log x), NaN for negative x."""
    if y == int(y) and abs(y) <= 16:
        return _whole_power(x, int(y))
    if abs(y) == 0.5:
        return sqrt(x) if y > 0 else rsqrt(x)
    return exp(log(x).mul_(y))


def _whole_power(x: Tensor, n: int) -> Tensor:
    """Left to right: square for each bit of n, times x where the bit is set; the reciprocal last."""
    if n == 0:
        return torch.ones_like(x)
    result = x.clone()
    for bit in bin(abs(n))[3:]:
        result.mul_(result)
        if bit == "1":
            result.mul_(x)
    return result.reciprocal_() if n < 0 else result


def sin(x: Tensor) -> Tensor:
    """Sine for |x| <= 2^20."""
    _check_angle(x, "aten.sin")
    return _sin(x)


def cos(x: Tensor) -> Tensor:
    """Cosine for |x| <= 2^20."""
    _check_angle(x, "aten.cos")
    return _cos(x)


@fused("pointwise.sin", torch.float64)
def _sin(x: Tensor) -> Tensor:
    return _quarter_turns(*_reduced_angle(x), shift=0)


@fused("pointwise.cos", torch.float64)
def _cos(x: Tensor) -> Tensor:
    return _quarter_turns(*_reduced_angle(x), shift=1)


@fused("pointwise.cos_sin_turns", torch.float64)
def cos_sin_turns(u: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine of 2 pi u for u in [0, 1): the reduction u - k/4 is exact."""
    k = torch.mul(u, 4.0).add_(_MAGIC).sub_(_MAGIC)
    r = torch.sub(u, torch.mul(k, 0.25)).mul_(_TWO_PI)
    quarter = k.to(_INT)
    return _quarter_turns(r, quarter, shift=1), _quarter_turns(r, quarter, shift=0)


def _check_angle(x: Tensor, op: str) -> None:
    if x.numel() and not torch.abs(x).max().item() <= _TRIGONOMETRIC_LIMIT:
        raise UnsupportedOp(op, "an angle exceeds 2^20 or is not a number; reduce it first")


def _reduced_angle(x: Tensor) -> tuple[Tensor, Tensor]:
    k = torch.mul(x, 1.0 / (_TWO_PI / 4)).add_(_MAGIC).sub_(_MAGIC)
    r = x
    for piece in _PI_HALF:
        r = torch.sub(r, torch.mul(k, piece))
    return r, k.to(_INT)


def _quarter_turns(r: Tensor, quarter: Tensor, shift: int) -> Tensor:
    """sin(r + (quarter + shift) pi / 2) for |r| <= pi / 4."""
    z = torch.mul(r, r)
    sine = _horner(z, _SIN).mul_(z).mul_(r).add_(r)
    cosine = _horner(z, _COS).mul_(z).mul_(z).sub_(torch.mul(z, 0.5)).add_(1.0)
    turn = torch.add(quarter, shift).bitwise_and_(3)
    value = torch.where(turn.bitwise_and(1).to(torch.bool), cosine, sine)
    return torch.where(turn >= 2, torch.neg(value), value)
