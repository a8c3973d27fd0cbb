"""Residues of sixty-four integers at a time, as bytes.

An operand q of at most 2^23 units is exact in float32. With r = fl(1/m), |q r - q/m| <= 2^23 2^-24 / m = 1/(2m).
t = round(q r) is found by adding 1.5 * 2^23, after which neighbours are 1 apart:
- fused, the addition rounds the exact q r to an integer: |q - t m| <= m/2 + 1/2;
- not fused, the product was rounded before, by at most 2^-24 |q r| <= 1/(2m) (1 + 2^-24): |q - t m| < m/2 + 1.001.
q - t m is an integer and m odd, so it lies within +-127 for every modulus up to 253, either way. The reciprocal of 256
is exact, and what is then 128 wraps to -128, the same modulo 256. t stands in the bits of the sum, whose magic number
ends in 16 zeros; q - t m needs its lower 8 bits alone, so that it is computed in 16.

Processors multiply bytes without a sign by bytes with one. So a right operand's residue gets m added where it is
negative, which puts it between 0 and 255: from -127 it becomes 126 at least, by 253, and what is not negative is at
most 127, or 128 by 256.

So a residue may differ by m between processors with and without a fused multiply-add, and from the eager code's. It
never shows: each stands for the same integer modulo m, is within its byte, and what is made of them is the one integer
C < P/2 that has these residues, whichever of them represent it.
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir
from numba.core import types

from validator.exact.kernels.build import Code, fuses, primitive
from validator.exact.kernels.vectors import every, loaded, picked, stored

SIDE = 16
"""Numbers of a vector."""
LINE = 4 * SIDE
"""Numbers at a time, and bytes of their residues."""
_MAGIC = 1.5 * 2.0**23
_WORD, _BYTE = ir.IntType(16), ir.IntType(8)
_SINGLES, _WHOLES = ir.VectorType(ir.FloatType(), SIDE), ir.VectorType(ir.IntType(32), SIDE)
_WORDS, _BYTES, _FOUR = ir.VectorType(_WORD, 2 * SIDE), ir.VectorType(_BYTE, LINE), ir.VectorType(ir.FloatType(), 4)


@primitive
def nearest(typing: Code, value: Code) -> Code:
    """A float32 rounded to an integer, ties to even."""

    def code(context: Code, builder: Code, signature: Code, args: Code) -> Code:
        return builder.call(builder.module.declare_intrinsic("llvm.rint", [ir.FloatType()]), args)

    return types.float32(types.float32), code


@primitive
def spread(typing: Code, x: Code, into: Code, gap: Code) -> Code:
    """Sixteen numbers of 32 bits, four of them to each of four places that are `gap` bytes apart."""

    def code(context: Code, builder: Code, signature: Code, args: Code) -> Code:
        x, into, gap = args
        for i in range(4):
            stored(builder, loaded(builder, x, _FOUR, 16 * i), into)
            into = builder.add(into, gap)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 3), code


@primitive
def low_words(typing: Code, x: Code, gap: Code, into: Code) -> Code:
    """The low 16 bits of 4 x 16 integers in float32, each sixteen `gap` bytes from the ones before, to (64,) int16."""

    def code(context: Code, builder: Code, signature: Code, args: Code) -> Code:
        x, gap, into = args
        whole = [builder.fptosi(each, _WHOLES) for each in _four(builder, x, gap)]
        for i, words in enumerate(_words_of(builder, whole)):
            stored(builder, words, into, i * LINE)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 3), code


def _line(order: list[int]) -> Callable[..., Code]:
    """Residues of sixty-four numbers, of which the i-th to be written is that of the order[i]-th."""

    def line(
        typing: Code, x: Code, gap: Code, words: Code, modulus: Code, reciprocal: Code, lift: Code, into: Code
    ) -> Code:
        def code(context: Code, builder: Code, signature: Code, args: Code) -> Code:
            x, gap, words, modulus, reciprocal, lift, into = args
            magic, scale = every(builder, ir.FloatType()(_MAGIC), _SINGLES), every(builder, reciprocal, _SINGLES)
            turned = [_multiply_add(context, builder, each, scale, magic) for each in _four(builder, x, gap)]
            turns = _words_of(builder, [builder.bitcast(each, _WHOLES) for each in turned])
            step = every(builder, builder.trunc(modulus, _WORD), _WORDS)
            rest = [
                builder.sub(loaded(builder, words, _WORDS, i * LINE), builder.mul(turn, step))
                for i, turn in enumerate(turns)
            ]
            first, second = (builder.bitcast(each, _BYTES) for each in rest)
            low = picked(builder, first, second, [2 * i for i in order])
            nothing, more = ir.Constant(_BYTES, None), every(builder, builder.trunc(lift, _BYTE), _BYTES)
            raised = builder.select(builder.icmp_signed("<", low, nothing), more, nothing)
            stored(builder, builder.add(low, raised), into)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 4, types.float32, *[types.int64] * 2), code

    return primitive(line)


line_in_order = _line(list(range(LINE)))
"""line(x, gap, words, modulus, reciprocal, lift, into): residues of what lies as in `low_words`, whose result is at
`words`; to a negative one `lift` is added."""
line_of_fours = _line([SIDE * which + i for i in range(SIDE) for which in range(4)])
"""The same, but the first of each sixteen come first, then the second of each."""


def _four(builder: Code, x: Code, gap: Code) -> list[Code]:
    return [loaded(builder, x, _SINGLES, builder.mul(gap, gap.type(i))) for i in range(4)]


def _words_of(builder: Code, four: list[Code]) -> list[Code]:
    """The low 16 bits of 4 x 16 numbers of 32 bits, two vectors of 32."""
    words = [builder.bitcast(each, _WORDS) for each in four]
    lower = list(range(0, 4 * SIDE, 2))
    return [picked(builder, words[0], words[1], lower), picked(builder, words[2], words[3], lower)]


def _multiply_add(context: Code, builder: Code, a: Code, b: Code, c: Code) -> Code:
    """build.fused, of vectors."""
    if not fuses(context):
        return builder.fadd(builder.fmul(a, b), c)
    name, kind = f"llvm.fma.v{SIDE}f32", ir.FunctionType(_SINGLES, [_SINGLES] * 3)
    one = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
    return builder.call(one, (a, b, c))
