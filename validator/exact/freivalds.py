"""Check a claimed exact product in O(n^2) instead of recomputing it in O(n^3): Freivalds (1977) over a prime field.

An exact product (products.py) is defined by integers: block products C = A B of operands on their grids. Whoever claims
a result hands over these integers, the `Witness`. The checker puts A and B on their grids anew, draws a random R, and
compares C R with A (B R) modulo p = 2^61 - 1, row by row; then adds the blocks in their fixed order, rounds, and
compares every bit of the claimed result. Products in rounded floating point have no such check.

Error bound. An honest claim always passes. Let a row of a block differ from the true one by d != 0. Both are at most
2^53 in magnitude (that is checked), so 0 < |d_j| <= 2^54 < p for some j: d_j is invertible modulo p. Whatever the other
entries of a column of R are, d . r = 0 (mod p) then holds for at most one of the 2^16 values of r_j. A column misses
the row with a probability of at most 2^-16, and the four independent columns of a round with 2^-64: `rounds` of them
with 2^(-64 rounds).

The seed must be unknown to the claimant until the claim is fixed (for instance, the hash of a block after the one that
holds the claim's digest): to one who knows R, a wrong row that passes is a matter of linear algebra.

Bounds of the arithmetic, all float64 sums of integers below 2^53, in any order:
  B R          2^26 * 2^16 a term, 2^10 terms at a time: 2^52; the parts are added in int64
  C R          C = C_1 2^27 + C_0, 2^26 * 2^16 a term, 2^10 terms at a time: 2^52; likewise
  A (B R)      B R mod p = three limbs of 21 bits; b + 21 + log2 k <= 2b + log2 k <= 53, for b >= 21
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from validator.exact.errors import ExactError, UnsupportedOp
from validator.exact.products import BLOCK, operand_bits, settle
from validator.exact.random import Stream
from validator.exact.scaling import grid, largest, slices

PRIME = (1 << 61) - 1
COLUMNS = 4
"""Challenge vectors in a round."""
CHALLENGE = 1 << 16
"""Entries of a challenge lie below it."""
_CUT, _LIMB = 27, 21
_MAGIC = 1.5 * 2.0 ** (52 + _CUT)
"""Added and taken away, it leaves the nearest multiple of 2^27 of integers up to 2^53."""
_MOST = 1 << 53
"""No block product has more units."""
_TERMS = 1024
"""Terms of a sum between two passages to int64; fewer than 2^10 passages, so that those sums stay below 2^63."""
_WIDEST = _TERMS << 9
_TILE = 1 << 16
"""Elements of the claim that are looked at together, so that they stay in the cache."""


@dataclass(frozen=True, slots=True, eq=False)
class Witness:
    """The integers of a product: for each block of 1024 of the depth, int64 (m, n), in units of the operands' grids."""

    blocks: tuple[Tensor, ...]


@dataclass(frozen=True, slots=True)
class Disagreement:
    """Where a claim is wrong: the first row that fails, a column in it, and the block; None for the rounded result."""

    row: int
    column: int
    block: int | None
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class _Operand:
    """An operand on its grids, float64, and the units of its rows (m, 1) or columns (1, n)."""

    values: Tensor
    units: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class _Challenge:
    """R, int64 (n, columns), and A (B R) modulo p for each block, int64 (m, columns)."""

    vectors: Tensor
    images: list[Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """Rows of the claim, the first of them row `start`, and of the blocks of its witness."""

    start: int
    claimed: Tensor
    blocks: list[Tensor]


def witness(a: Tensor, b: Tensor) -> Witness:
    """The witness of a (m, k) @ b (k, n), float32. Raises NonFinite and UnsupportedOp."""
    with _disable_current_modes():  # what is below is exact as it stands
        left, right = _operands(a, b)
        return Witness(tuple(_block(left, right, part) for part in _blocks(a.shape[1])))


def check(a: Tensor, b: Tensor, claimed: Tensor, given: Witness, seed: bytes, rounds: int = 2) -> Disagreement | None:
    """Whether `claimed` float32 (m, n) is the exact product of float32 a (m, k) and b (k, n): None, or where it is not.

    `seed` must come after the claim (see above). A wrong claim passes with a probability of at most 2^(-64 rounds).
    Raises ExactError when the shapes or dtypes of the claim are not those of the product, or rounds < 1; NonFinite and
    UnsupportedOp for the operands.
    """
    with _disable_current_modes():
        return _check(a, b, claimed, given, seed, rounds)


def _check(a: Tensor, b: Tensor, claimed: Tensor, given: Witness, seed: bytes, rounds: int) -> Disagreement | None:
    left, right = _operands(a, b)
    _well_formed(a, b, claimed, given, rounds)
    if not a.numel() or not b.numel():
        return _differs(claimed, torch.zeros_like(claimed), 0)
    vectors = Stream(seed, "freivalds").integers(CHALLENGE, (b.shape[1], COLUMNS * rounds)).to(a.device)
    challenge = _Challenge(vectors, [_image(left, right, part, vectors) for part in _blocks(a.shape[1])])
    for start, stop in _ranges(a.shape[0], max(1, _TILE // b.shape[1])):
        rows = _Rows(start, claimed[start:stop], [block[start:stop] for block in given.blocks])
        found = _check_rows(left, right, rows, challenge)
        if found is not None:
            return found
    return None


def _operands(a: Tensor, b: Tensor) -> tuple[_Operand, _Operand]:
    op = "a checked product"
    if not a.dtype == b.dtype == torch.float32:
        raise UnsupportedOp(op, f"operands of {a.dtype} and {b.dtype}; float32 has a witness")
    if a.dim() != 2 or b.dim() != 2 or a.shape[1] != b.shape[0] or b.shape[1] > _WIDEST:
        raise UnsupportedOp(op, f"shapes {tuple(a.shape)} and {tuple(b.shape)} are not those of one product")
    return _operand(a, -1, op), _operand(b, -2, op)


def _operand(x: Tensor, dim: int, op: str) -> _Operand:
    if not x.numel():
        return _Operand(x.double(), torch.ones_like(x.narrow(dim, 0, 0).sum(dim, keepdim=True), dtype=torch.float64))
    bits = operand_bits(x.shape[dim])
    # The exponent field of the magic number 1.5 * 2^52 units, less 52, is that of the unit.
    magic = grid(largest(x, (dim,), op), bits)
    units = magic.view(torch.int64).bitwise_and(0x7FF << 52).sub_(52 << 52).view(torch.float64)
    return _Operand(slices(x, (dim,), bits, 1, op)[0], units)


def _well_formed(a: Tensor, b: Tensor, claimed: Tensor, given: Witness, rounds: int) -> None:
    shape = (a.shape[0], b.shape[1])
    if rounds < 1:
        raise ExactError(f"a check takes at least one round, not {rounds}")
    if claimed.dtype != torch.float32 or tuple(claimed.shape) != shape:
        raise ExactError(f"the claim is {claimed.dtype} {tuple(claimed.shape)}, the product float32 {shape}")
    if len(given.blocks) != len(_blocks(a.shape[1])):
        raise ExactError(f"{len(given.blocks)} blocks are given for a depth of {a.shape[1]}")
    for block in given.blocks:
        if block.dtype != torch.int64 or tuple(block.shape) != shape:
            raise ExactError(f"a block is {block.dtype} {tuple(block.shape)}, not int64 {shape}")


def _blocks(k: int) -> list[slice]:
    return [slice(start, stop) for start, stop in _ranges(k, BLOCK)]


def _ranges(n: int, step: int) -> Iterator[tuple[int, int]]:
    return ((start, min(start + step, n)) for start in range(0, n, step))


def _block(left: _Operand, right: _Operand, part: slice) -> Tensor:
    product = left.values[:, part] @ right.values[part]
    return product.div_(left.units).div_(right.units).to(torch.int64)


def _image(left: _Operand, right: _Operand, part: slice, challenge: Tensor) -> Tensor:
    """A (B R) modulo p for one block of the depth: int64 (m, columns of R)."""
    inner = torch.zeros(part.stop - part.start, challenge.shape[1], dtype=torch.int64, device=challenge.device)
    # A unit is a power of two: dividing R by it instead of B changes no digit.
    scaled = challenge.to(torch.float64) / right.units.t()
    for start, stop in _ranges(challenge.shape[0], _TERMS):
        inner += (right.values[part, start:stop] @ scaled[start:stop]).to(torch.int64)
    inner = inner.remainder(PRIME)
    limbs = [(inner >> shift) & ((1 << _LIMB) - 1) for shift in (0, _LIMB, 2 * _LIMB)]
    sums = (left.values[:, part] @ torch.cat(limbs, 1).to(torch.float64)).div_(left.units).to(torch.int64)
    low, middle, high = sums.remainder_(PRIME).chunk(3, 1)
    return torch.remainder(low + _turn(middle, _LIMB) + _turn(high, 2 * _LIMB), PRIME)


def _turn(x: Tensor, shift: int) -> Tensor:
    """x 2^shift modulo p, for 0 <= x < p: a rotation of 61 bits."""
    return ((x & ((1 << (61 - shift)) - 1)) << shift) + (x >> (61 - shift))


def _project(block: Tensor, challenge: Tensor) -> Tensor:
    """C R modulo p for rows of C: int64 (rows, columns of R)."""
    whole = block.to(torch.float64)
    above = whole.add(_MAGIC).sub_(_MAGIC)
    parts, shifts = (whole.sub_(above), above), (1.0, 0.5**_CUT)
    low, high = torch.zeros(2, block.shape[0], challenge.shape[1], dtype=torch.int64, device=block.device)
    for start, stop in _ranges(block.shape[1], _TERMS):
        factor = challenge[start:stop].to(torch.float64)
        for total, part, shift in zip((low, high), parts, shifts, strict=True):
            total += (part[:, start:stop] @ factor).mul_(shift).to(torch.int64)
    return torch.remainder(low.remainder_(PRIME) + _turn(high.remainder_(PRIME), _CUT), PRIME)


def _check_rows(left: _Operand, right: _Operand, rows: _Rows, challenge: _Challenge) -> Disagreement | None:
    at = slice(rows.start, rows.start + rows.claimed.shape[0])
    total = torch.zeros(rows.claimed.shape, dtype=torch.float64, device=rows.claimed.device)
    for number, (block, image) in enumerate(zip(rows.blocks, challenge.images, strict=True)):
        least, most = torch.aminmax(block)
        if max(-int(least), int(most)) > _MOST:
            return _out_of_range(block, rows.start, number)
        wrong = (_project(block, challenge.vectors) != image[at]).any(1)
        if bool(wrong.any()):
            return _locate(left, right, block, rows.start, int(wrong.to(torch.uint8).argmax()), number)
        total.add_(block.to(torch.float64))
    result = settle(total.mul_(left.units[at]).mul_(right.units), torch.float32)
    return _differs(rows.claimed, result, rows.start)


def _out_of_range(rows: Tensor, start: int, number: int) -> Disagreement:
    row, column = _first((rows > _MOST) | (rows < -_MOST))
    return Disagreement(start + row, column, number, "no product of this depth has so many units")


def _locate(left: _Operand, right: _Operand, rows: Tensor, start: int, row: int, number: int) -> Disagreement:
    """Recompute the one row that failed: k n more products."""
    part = slice(number * BLOCK, min((number + 1) * BLOCK, left.values.shape[1]))
    at = start + row
    true = _block(_Operand(left.values[at : at + 1], left.units[at : at + 1]), right, part)
    _, column = _first(true != rows[row : row + 1])
    return Disagreement(
        at, column, number, f"{int(rows[row, column])} units are given, {int(true[0, column])} are true"
    )


def _differs(claimed: Tensor, result: Tensor, start: int) -> Disagreement | None:
    """Compare bits: a negative zero or another NaN is not the result."""
    wrong = claimed.contiguous().view(torch.int32) != result.contiguous().view(torch.int32)
    if not bool(wrong.any()):
        return None
    row, column = _first(wrong)
    reason = f"{claimed[row, column].item()!r} is claimed, the integers give {result[row, column].item()!r}"
    return Disagreement(start + row, column, None, reason)


def _first(mask: Tensor) -> tuple[int, int]:
    row = int(mask.any(1).to(torch.uint8).argmax())
    return row, int(mask[row].to(torch.uint8).argmax())
