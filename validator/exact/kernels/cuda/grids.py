"""Snapping and summing on power-of-two grids (scaling.py, sums.py), in tiles of a tensor of the form (outer, n, inner).

Several programs share a slice x[o, :, i]. What they bring together are integers, the bits of the largest magnitude and
numbers of units, by atomic operations: no order of programs can be seen in the result.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton.language as tl
from torch import Tensor

from validator.exact.errors import NonFinite
from validator.exact.kernels.cuda.launch import Kernel, jit, launch, power_of_two
from validator.exact.kernels.cuda.layout import back, slices
from validator.exact.kernels.cuda.pointwise import BLOCK, blocks
from validator.exact.kernels.cuda.scalar import bits, from_bits, settled

_TILE = 2048
"""Elements of a tile."""
_WIDTH = 64
"""Slices side by side in a tile, at most: 256 bytes of float32, enough for the memory to be read in full."""
_TILES = 8
"""Tiles that one program walks through, one after the other, along a slice."""

MOST = 0x58F << 52
"""The bits of 2^400."""
_LEAST_BITS = tl.constexpr(0x26F << 52)
"""The bits of 2^-400."""
_EXPONENT = tl.constexpr(0x7FF << 52)
_MAGNITUDE = tl.constexpr((1 << 63) - 1)
_MANTISSA = tl.constexpr(52 << 52)


def lift(grid_bits: int) -> int:
    """What the exponent of the largest magnitude and this add up to are the bits of the magic number: scaling.grid."""
    return ((53 - grid_bits) << 52) + (1 << 51)


def step(grid_bits: int) -> int:
    """How much lower the bits of the second grid's magic number are."""
    return grid_bits << 52


@jit
def magnitude(x: tl.tensor) -> tl.tensor:
    """|x| as the integer that its bits are. Infinity exceeds every number, NaN exceeds infinity."""
    return bits(x) & _MAGNITUDE


@jit
def magic_bits(top: tl.tensor, lift: tl.tensor) -> tl.tensor:
    """The bits of the magic number for slices up to the magnitude `top`; see scaling.grid."""
    return (tl.maximum(top, _LEAST_BITS) & _EXPONENT) + lift


@jit
def units(x: tl.tensor, magic: tl.tensor) -> tl.tensor:
    """How many units of the grid of `magic` each x is, rounded."""
    return bits(x + from_bits(magic)) - magic


@jit
def rest_units(x: tl.tensor, magic: tl.tensor, second: tl.tensor) -> tl.tensor:
    """How many units of the grid of `second` is what the grid of `magic` rounds away."""
    number = from_bits(magic)
    return units(x - ((x + number) - number), second)


@jit
def scaled(count: tl.tensor, magic: tl.tensor) -> tl.tensor:
    """So many units, as float64."""
    return count.to(tl.float64) * from_bits((magic & _EXPONENT) - _MANTISSA)


@jit
def _place(across: tl.tensor, chunks: tl.tensor, width: tl.constexpr) -> tl.tensor:
    """What the program works on: the group, the chunk along the slices, and which slices of the group."""
    program = tl.program_id(0).to(tl.int64)
    column = program // chunks % across * width + tl.arange(0, width)
    return program // chunks // across, program % chunks, column


@jit
def _tile(
    group: tl.tensor, first: tl.tensor, column: tl.tensor, n: tl.tensor, columns: tl.tensor,
    down: tl.tensor, right: tl.tensor, length: tl.constexpr,
) -> tl.tensor:  # fmt: skip
    """The offsets of a tile, and which of its elements there are."""
    j = first + tl.arange(0, length)
    offset = group * n * columns + j[:, None] * down + column[None, :] * right
    return offset, (j < n)[:, None] & (column < columns)[None, :]


@jit
def _largest(
    x: tl.tensor, tops: tl.tensor,
    n: int, columns: int, down: int, right: int, across: int, chunks: int,
    length: tl.constexpr, width: tl.constexpr, tiles: tl.constexpr,
) -> None:  # fmt: skip
    group, chunk, column = _place(across, chunks, width)
    top = tl.zeros([length, width], tl.int64)
    for i in range(tiles):
        offset, inside = _tile(group, (chunk * tiles + i) * length, column, n, columns, down, right, length)
        top = tl.maximum(top, magnitude(tl.load(x + offset, mask=inside, other=0.0).to(tl.float64)))
    tl.atomic_max(tops + group * columns + column, tl.max(top, 0), mask=column < columns, sem="relaxed")


@jit
def _snap(
    x: tl.tensor, tops: tl.tensor, out: tl.tensor,
    n: int, columns: int, down: int, right: int, across: int, chunks: int, lift: int,
    length: tl.constexpr, width: tl.constexpr, tiles: tl.constexpr,
) -> None:  # fmt: skip
    group, chunk, column = _place(across, chunks, width)
    top = tl.load(tops + group * columns + column, mask=column < columns, other=0)
    magic = from_bits(magic_bits(top, lift))[None, :]
    for i in range(tiles):
        offset, inside = _tile(group, (chunk * tiles + i) * length, column, n, columns, down, right, length)
        value = tl.load(x + offset, mask=inside, other=0.0).to(tl.float64)
        tl.store(out + offset, (value + magic) - magic, mask=inside)


@jit
def _add(
    x: tl.tensor, tops: tl.tensor, sums: tl.tensor, rests: tl.tensor,
    n: int, columns: int, down: int, right: int, across: int, chunks: int, lift: int, step: int,
    fine: tl.constexpr, length: tl.constexpr, width: tl.constexpr, tiles: tl.constexpr,
) -> None:  # fmt: skip
    group, chunk, column = _place(across, chunks, width)
    slot = group * columns + column
    magic = magic_bits(tl.load(tops + slot, mask=column < columns, other=0), lift)[None, :]
    count, rest = tl.zeros([length, width], tl.int64), tl.zeros([length, width], tl.int64)
    for i in range(tiles):
        offset, inside = _tile(group, (chunk * tiles + i) * length, column, n, columns, down, right, length)
        value = tl.load(x + offset, mask=inside, other=0.0).to(tl.float64)
        count += units(value, magic)
        if fine:
            rest += rest_units(value, magic, magic - step)
    tl.atomic_add(sums + slot, tl.sum(count, 0), mask=column < columns, sem="relaxed")
    if fine:
        tl.atomic_add(rests + slot, tl.sum(rest, 0), mask=column < columns, sem="relaxed")


@jit
def _scale(
    tops: tl.tensor, sums: tl.tensor, rests: tl.tensor, out: tl.tensor, n: int, lift: int, step: int,
    fine: tl.constexpr, block: tl.constexpr,
) -> None:  # fmt: skip
    at = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    magic = magic_bits(tl.load(tops + at, mask=at < n, other=0), lift)
    result = scaled(tl.load(sums + at, mask=at < n, other=0), magic)
    if fine:
        result = scaled(tl.load(rests + at, mask=at < n, other=0), magic - step) + result
    tl.store(out + at, result, mask=at < n)


@jit
def _round(x: tl.tensor, out: tl.tensor, n: int, block: tl.constexpr) -> None:
    at = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    tl.store(out + at, settled(tl.load(x + at, mask=at < n, other=0.0), out), mask=at < n)


def snap(x: Tensor, dims: Sequence[int], grid_bits: int, op: str) -> Tensor:
    """scaling.snap on the grids of the slices over `dims`: float64, in the layout of `x`. Raises NonFinite."""
    s = slices(x, dims)
    out = torch.empty(s.shape, dtype=torch.float64, device=x.device)
    tops = _tops(s.array, 1)[0]
    _over_tiles(_snap, s.array, tops, out, after=(lift(grid_bits),))
    _check(tops, op)
    return back(out, s.order)


def total(x: Tensor, dims: Sequence[int], keepdim: bool, grid_bits: int, fine: bool, op: str) -> Tensor:
    """sums.total over `dims` (non-negative, ascending, at least one), float64. Raises NonFinite."""
    s = slices(x, dims)
    found = _tops(s.array, 3)
    out = torch.empty(found[0].shape, dtype=torch.float64, device=x.device)
    grids = lift(grid_bits), step(grid_bits)
    _over_tiles(_add, s.array, *found, after=grids, fine=fine)
    launch(_scale, blocks(out), BLOCK, *found, out, out.numel(), *grids, fine=fine, block=BLOCK)
    _check(found[0], op)
    reduced = set(dims)
    kept = back(out.view([1 if d in reduced else x.shape[d] for d in s.order]), s.order)
    return kept if keepdim else kept.squeeze(tuple(dims))


def settle(x: Tensor) -> Tensor | None:
    """products.settle to float32; None unless `x` is contiguous."""
    if not x.is_contiguous():
        return None
    out = torch.empty_like(x, dtype=torch.float32)
    launch(_round, blocks(x), BLOCK, x, out, x.numel(), block=BLOCK)
    return out


def _tops(x: Tensor, count: int) -> tuple[Tensor, ...]:
    """`count` int64 vectors with a place for each slice; the first holds the bits of the largest magnitudes."""
    found = torch.zeros((count, x.shape[0] * x.shape[2]), dtype=torch.int64, device=x.device)
    _over_tiles(_largest, x, found[0])
    return found.unbind()


def _over_tiles(kernel: Kernel, x: Tensor, *others: Tensor, after: tuple[int, ...] = (), **constants: bool) -> None:
    """Run a kernel that walks through `x` (outer, n, inner) in tiles of several slices.

    Slices lie side by side, or one behind the other where inner is 1. `down` and `right` are the steps in memory along
    a slice, and to the next.
    """
    outer, n, inner = x.shape
    if inner == 1:
        groups, columns, down, right = 1, outer, 1, n
        length = min(power_of_two(n), _TILE)
        width = min(power_of_two(columns), _TILE // length)
    else:
        groups, columns, down, right = outer, inner, inner, 1
        width = min(power_of_two(columns), _WIDTH)
        length = min(power_of_two(n), _TILE // width)
    tiles = min(-(-n // length), _TILES)
    across, chunks = -(-columns // width), -(-n // (length * tiles))
    sizes = n, columns, down, right, across, chunks
    shape = {"length": length, "width": width, "tiles": tiles}
    launch(kernel, groups * across * chunks, length * width, x, *others, *sizes, *after, **shape, **constants)


def _check(tops: Tensor, op: str) -> None:
    if not tops.max().item() < MOST:
        raise NonFinite(op)
