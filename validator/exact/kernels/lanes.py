"""The units of many float32 in float32 lanes: the integers of units.count_units, sixteen at a time and without float64.

Let u = 2^(E+1-b) be the unit of a grid of b bits for magnitudes below 2^(E+1), and v = 2^(E+1-22) = 2^(b-22) u that of
a coarser one. With C = 1.5 * 2^23 v and D = 1.5 * 2^23 u, all in float32:
  s = x + C    |x| < 2^22 v, so s is in [2^23 v, 2^24 v], where neighbours are v apart: x is rounded to p v
  d = s - C    = p v, exactly: s and C are multiples of v, and |p| <= 2^22
  r = x - d    exactly: |r| <= v/2; where |x| < v/2, d is 0; elsewhere x and d, and so r, are multiples of 2^-24 v
  t = r + D    |r| <= v/2 <= 2^22 u for b <= 45: r is rounded to q u
The multiple of u nearest to x is d plus the one nearest to r, for d = 2^(b-22) p u is one itself. At a tie x and r take
the even one of two, the same since from 23 bits on d is an even multiple, as are C, D and M (scaling.py). So x is
snapped to (2^(b-22) p + q) u. The bits of s and C differ by p, and those of t and D by q: sums of bits give sums of p
and of q.

s must not exceed float32 and D must be a normal number: b - 150 <= E <= 124. Lanes of 32 bits hold sums of at most
511 integers of up to 2^22 in magnitude; the counts in between wrap, and that is taken off.
"""

from __future__ import annotations

from llvmlite import ir
from numba.core import types

from validator.exact.kernels.build import Code, Scalar, inline, primitive
from validator.exact.kernels.vectors import every, loaded

_COARSE = 22
"""Bits of the coarser grid."""
_WIDTH = 16
"""Lanes of a vector; LLVM cuts it where registers are shorter."""
_UNROLLED = 4
"""Vectors of a step. Sums of two of them are kept apart, so that additions need not wait for each other."""
_APART = 2
STEP = _WIDTH * _UNROLLED
"""What counts must be multiples of."""
MOST = 511 * _WIDTH * _APART // STEP * STEP
"""The most values of one call."""

_INTEGER, _LONG, _SINGLE = ir.IntType(32), ir.IntType(64), ir.FloatType()
_INTEGERS, _LONGS, _SINGLES = (ir.VectorType(kind, _WIDTH) for kind in (_INTEGER, _LONG, _SINGLE))


@inline
def fits(magic: Scalar, grid_bits: Scalar) -> Scalar:
    """Whether lanes of float32 give the units of the grid of a magic number (by its bits), see above."""
    exponent = (magic >> 52) - (1023 + 53) + grid_bits
    return 23 <= grid_bits <= 45 and grid_bits - 150 <= exponent <= 124


@inline
def count_and_look(x: Scalar, count: Scalar, magic: Scalar, grid_bits: Scalar, ahead: Scalar) -> Scalar:
    """The units of `count` float32 at the address `x`, and the largest magnitude of as many at `ahead`, as int32 bits.

    `count` is a multiple of STEP, above zero and at most MOST; the grid one that `fits`.
    """
    exponent = (magic >> 52) - (1023 + 53) + grid_bits
    coarse = ((exponent + 2 + 127) << 23) + (1 << 22)
    fine = ((exponent + 24 - grid_bits + 127) << 23) + (1 << 22)
    return _lanes(x, ahead, count, coarse, fine, grid_bits - _COARSE)


@primitive
def _lanes(typing: Code, x: Code, ahead: Code, count: Code, coarse: Code, fine: Code, shift: Code) -> Code:
    """`coarse` and `fine` are the bits of C and D, `shift` is b - 22."""
    pair: Code = types.Tuple((types.int64, types.int32))  # type: ignore[no-untyped-call]
    return pair(*[types.int64] * 6), _code


def _code(context: Code, builder: Code, signature: Code, args: Code) -> Code:
    x, ahead, count, coarse, fine, shift = args
    bits = [every(builder, builder.trunc(each, _INTEGER), _INTEGERS) for each in (coarse, fine)]
    numbers = [builder.bitcast(each, _SINGLES) for each in bits]
    before, loop, after = builder.block, builder.append_basic_block("loop"), builder.append_basic_block("after")
    builder.branch(loop)
    builder.position_at_end(loop)
    place = builder.phi(_LONG)
    place.add_incoming(_LONG(0), before)
    kept = [[builder.phi(_INTEGERS) for _ in range(_APART)] for _ in range(3)]
    sums = [list(each) for each in kept]
    for step in range(_UNROLLED):
        offset = builder.shl(builder.add(place, _LONG(step * _WIDTH)), _LONG(2))
        _step(
            builder,
            [loaded(builder, address, _SINGLES, offset) for address in (x, ahead)],
            numbers,
            sums,
            step % _APART,
        )
    following = builder.add(place, _LONG(STEP))
    place.add_incoming(following, loop)
    for phi, value in ((phi, value) for pair in zip(kept, sums, strict=True) for phi, value in zip(*pair, strict=True)):
        phi.add_incoming(ir.Constant(_INTEGERS, None), before)
        phi.add_incoming(value, loop)
    builder.cbranch(builder.icmp_signed("<", following, count), loop, after)
    builder.position_at_end(after)
    vectors = builder.lshr(count, _LONG((_WIDTH * _APART).bit_length() - 1))
    times = every(builder, builder.trunc(vectors, _INTEGER), _INTEGERS)
    high, low = (_wide(builder, each, builder.mul(times, one)) for each, one in zip(sums, bits, strict=False))
    units = builder.add(builder.shl(high, every(builder, shift, _LONGS)), low)
    top = _larger(builder, *sums[2])
    found = [_reduce(builder, "add", units), _reduce(builder, "smax", top)]
    return context.make_tuple(builder, signature.return_type, found)


def _step(builder: Code, vectors: list[Code], numbers: list[Code], sums: list[list[Code]], part: int) -> None:
    """s, d, r and t of one vector, and the largest magnitudes of one ahead."""
    x, ahead = vectors
    rounded = builder.fadd(x, numbers[0])
    rest = builder.fsub(x, builder.fsub(rounded, numbers[0]))
    for total, value in zip(sums, (rounded, builder.fadd(rest, numbers[1])), strict=False):
        total[part] = builder.add(total[part], builder.bitcast(value, _INTEGERS))
    magnitude = builder.and_(builder.bitcast(ahead, _INTEGERS), ir.Constant(_INTEGERS, [0x7FFFFFFF] * _WIDTH))
    sums[2][part] = _larger(builder, sums[2][part], magnitude)


def _larger(builder: Code, a: Code, b: Code) -> Code:
    return builder.select(builder.icmp_signed(">", a, b), a, b)


def _wide(builder: Code, parts: list[Code], count: Code) -> Code:
    """Sums of bits less `count` times the magic number's, each of which is a number of 32 bits, in 64 bits."""
    first, second = (builder.sext(builder.sub(part, count), _LONGS) for part in parts)
    return builder.add(first, second)


def _reduce(builder: Code, how: str, vector: Code) -> Code:
    element = vector.type.element
    name = f"llvm.vector.reduce.{how}.v{_WIDTH}i{element.width}"
    called = builder.module.globals.get(name) or ir.Function(
        builder.module, ir.FunctionType(element, [vector.type]), name
    )
    return builder.call(called, [vector])
