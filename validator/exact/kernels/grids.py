"""Snapping and summing on power-of-two grids (scaling.py, sums.py), one slice at a time while it is in the cache.

A tensor is brought to the form (outer, n, inner) in row order; a slice is x[o, :, i]. Magnitudes are compared as the
integers that their bits are, and sums add the integers bits(x + magic): both are free of order, so the compiler may
vectorise them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from validator.exact.errors import NonFinite
from validator.exact.kernels import columns, dense
from validator.exact.kernels.build import Array, Scalar, bits, from_bits, inline, kernel
from validator.exact.kernels.parallel import split
from validator.exact.kernels.units import (
    EXPONENT,
    HALF,
    LEAST,
    MOST,
    add_columns,
    count_units,
    largest,
    largest_of_columns,
    magic_bits,
    unit_of,
)

_COLUMNS = 512
"""Slices that are walked side by side when they are columns: their accumulators stay in the first-level cache."""
# Indices into slices start at 0 below: numba would test any other for being negative, and not vectorise.


@kernel
def _snap_rows(x: Array, out: Array, grid_bits: Scalar) -> Scalar:
    finite = True
    for row in range(x.shape[0]):
        wide = largest(x[row])
        finite &= wide < MOST
        magic = from_bits(magic_bits(wide, grid_bits))
        for j in range(x.shape[1]):
            out[row, j] = (np.float64(x[row, j]) + magic) - magic
    return finite


@kernel
def _snap_columns(x: Array, out: Array, grid_bits: Scalar, outer: Scalar, first: Scalar, stop: Scalar) -> Scalar:
    finite = True
    tops, magics = np.empty(stop - first, np.int64), np.empty(stop - first, np.float64)
    largest_of_columns(x, outer, first, stop, tops)
    for j in range(tops.shape[0]):
        finite &= tops[j] < MOST
        magics[j] = from_bits(magic_bits(tops[j], grid_bits))
    for row in range(x.shape[1]):
        values, target = x[outer, row, first:stop], out[outer, row, first:stop]
        for j in range(magics.shape[0]):
            target[j] = (np.float64(values[j]) + magics[j]) - magics[j]
    return finite


@kernel
def _sum_rows(x: Array, out: Array, grid_bits: Scalar, fine: Scalar) -> Scalar:
    finite = True
    for row in range(x.shape[0]):
        wide = largest(x[row])
        finite &= wide < MOST
        out[row] = _added(x[row], magic_bits(wide, grid_bits), grid_bits, fine)
    return finite


@inline
def _added(x: Array, magic: Scalar, grid_bits: Scalar, fine: Scalar) -> Scalar:
    """The sum of a vector on the grid of `magic`, with the second grid if `fine`."""
    units = count_units(x, magic)
    coarse = np.float64(units) * unit_of(magic)
    if not fine:
        return coarse
    second = magic - (grid_bits << np.int64(52))
    return np.float64(_rest_units(x, magic, second)) * unit_of(second) + coarse


@inline
def _rest_units(x: Array, magic: Scalar, second: Scalar) -> Scalar:
    number, finer = from_bits(magic), from_bits(second)
    total = np.int64(0)
    for j in range(x.shape[0]):
        value = np.float64(x[j])
        total += bits((value - ((value + number) - number)) + finer)
    return total - second * np.int64(x.shape[0])


@kernel
def _sum_columns(
    x: Array, out: Array, grid_bits: Scalar, fine: Scalar, outer: Scalar, first: Scalar, stop: Scalar
) -> Scalar:
    finite = True
    n, width = np.int64(x.shape[1]), stop - first
    magic, sums, rests = np.zeros(width, np.int64), np.zeros(width, np.int64), np.zeros(width, np.int64)
    number, finer = np.empty(width, np.float64), np.empty(width, np.float64)
    largest_of_columns(x, outer, first, stop, magic)
    for j in range(width):
        finite &= magic[j] < MOST
        magic[j] = magic_bits(magic[j], grid_bits)
        number[j] = from_bits(magic[j])
        finer[j] = from_bits(magic[j] - (grid_bits << np.int64(52)))
    for row in range(x.shape[1]):
        add_columns(x[outer, row, first:stop], number, sums)
    if fine:
        for row in range(x.shape[1]):
            _add_rests(x[outer, row, first:stop], number, finer, rests)
    for j in range(width):
        value = np.float64(sums[j] - magic[j] * n) * unit_of(magic[j])
        if fine:
            second = magic[j] - (grid_bits << np.int64(52))
            value = np.float64(rests[j] - second * n) * unit_of(second) + value
        out[outer, first + j] = value
    return finite


@inline
def _add_rests(x: Array, number: Array, finer: Array, rests: Array) -> None:
    for j in range(x.shape[0]):
        value = np.float64(x[j])
        rests[j] += bits((value - ((value + number[j]) - number[j])) + finer[j])


@kernel
def _top(x: Array) -> Scalar:
    return largest(x)


@kernel
def _units_of(x: Array, magic: Scalar) -> Scalar:
    return count_units(x, magic)


@kernel
def _rest_units_of(x: Array, magic: Scalar, second: Scalar) -> Scalar:
    return _rest_units(x, magic, second)


@dataclass(frozen=True, slots=True)
class _Slices:
    """A tensor as (outer, n, inner) in row order: `order` says which dimension of the tensor stands where."""

    array: Array
    order: tuple[int, ...]
    shape: tuple[int, ...]


def _slices(x: Tensor, dims: Sequence[int]) -> _Slices:
    """`dims`: non-negative, ascending, at least one; `x` not empty. Copies only what is not dense in memory."""
    first, last = dims[0], dims[-1] + 1
    if x.is_contiguous() and last - first == len(dims):
        outer, n = math.prod(x.shape[:first]), math.prod(x.shape[first:last])
        return _Slices(x.detach().numpy().reshape(outer, n, -1), tuple(range(x.dim())), tuple(x.shape))
    reduced = set(dims)
    order = tuple(sorted(range(x.dim()), key=lambda d: (x.shape[d] != 1, -x.stride()[d])))
    dense = x.permute(order)
    places = [i for i, d in enumerate(order) if d in reduced and x.shape[d] != 1]
    together = not places or places[-1] - places[0] == len(places) - 1
    if not (together and dense.is_contiguous()):
        order = tuple(d for d in range(x.dim()) if d not in reduced) + tuple(dims)
        dense = x.permute(order).contiguous()
        places = list(range(x.dim() - len(dims), x.dim()))
    outer = math.prod(dense.shape[: places[0]]) if places else dense.numel()
    n = math.prod(dense.shape[i] for i in places)
    array = dense.detach().reshape(outer, n, -1).numpy()
    return _Slices(array, order, tuple(dense.shape))


def _back(x: Tensor, order: Sequence[int]) -> Tensor:
    """Undo the permutation `order`."""
    if order == tuple(range(len(order))):
        return x
    place = [0] * len(order)
    for i, d in enumerate(order):
        place[d] = i
    return x.permute(place)


def snap(x: Tensor, dims: Sequence[int], grid_bits: int, op: str) -> Tensor:
    """scaling.snap on the grids of the slices over `dims`: float64, in the layout of `x`. Raises NonFinite."""
    found = _snap_matrix(x, dims[0], grid_bits, op) if x.dim() == 2 and x.dtype == torch.float32 else None
    if found is not None:
        return found
    s = _slices(x, dims)
    out = torch.empty(s.shape, dtype=torch.float64)
    into = out.numpy().reshape(s.array.shape)
    _each_part(
        s.array,
        lambda start, stop: _snap_rows(s.array[start:stop, :, 0], into[start:stop, :, 0], grid_bits),
        lambda outer, start, stop: _snap_columns(s.array, into, grid_bits, outer, start, stop),
        op,
    )
    return _back(out, s.order)


def _snap_matrix(x: Tensor, dim: int, grid_bits: int, op: str) -> Tensor | None:
    """A matrix whose slices lie one behind the other in memory, which operands of products mostly are."""
    rows = x if dim == 1 else x.t()
    if not rows.is_contiguous() or x.is_neg():
        return None
    out = torch.empty(rows.shape, dtype=torch.float64)
    if not dense.snap_rows(x.data_ptr(), out, rows.shape[0], rows.shape[1], grid_bits):
        raise NonFinite(op)
    return out if dim == 1 else out.t()


def total(x: Tensor, dims: Sequence[int], keepdim: bool, grid_bits: int, fine: bool, op: str) -> Tensor:
    """sums.total over `dims` (non-negative, ascending, at least one), float64. Raises NonFinite."""
    s = _slices(x, dims)
    outer, n, inner = s.array.shape
    out = torch.empty((outer, inner), dtype=torch.float64)
    into = out.numpy()
    if outer * inner == 1:
        into[0, 0] = _sum_of_all(s.array.reshape(n), grid_bits, fine, op)
    else:
        _each_part(
            s.array,
            lambda start, stop: _sum_rows(s.array[start:stop, :, 0], into[start:stop, 0], grid_bits, fine),
            lambda outer, start, stop: _sum_columns(s.array, into, grid_bits, fine, outer, start, stop),
            op,
        )
    reduced = set(dims)
    kept = _back(out.view([1 if d in reduced else x.shape[d] for d in s.order]), s.order)
    return kept if keepdim else kept.squeeze(tuple(dims))


def single(x: Tensor, dims: Sequence[int], keepdim: bool, grid_bits: int, by: int, op: str) -> Tensor | None:
    """sums._single, of what is dense in memory; None for other layouts. Raises NonFinite."""
    shape, first, last = x.shape, dims[0], dims[-1] + 1
    if last - first != len(dims) or not x.is_contiguous() or x.is_neg():
        return None
    before, behind = shape[:first], shape[last:]
    outer, inner = math.prod(before), math.prod(behind)
    kept = (*before, *(1,) * len(dims), *behind) if keepdim else before + behind
    out = x.new_empty(kept)
    length = x.numel() // (outer * inner)
    if inner == 1:
        finite = dense.sum_rows(x, out, outer, length, grid_bits, by)
    else:
        finite = columns.sum_columns(x, out, (outer, length, inner), grid_bits, by)
    if not finite:
        raise NonFinite(op)
    return out


def _each_part(x: Array, rows: Callable[[int, int], bool], columns: Callable[[int, int, int], bool], op: str) -> None:
    """Run one of them over all slices: `rows(start, stop)`, or `columns(outer, start, stop)` of at most _COLUMNS.

    Each says whether its part was finite. Raises NonFinite.
    """
    outer, n, inner = x.shape
    blocks = -(-inner // _COLUMNS)
    finite: list[bool] = []

    def some_blocks(start: int, stop: int) -> None:
        for number in range(start, stop):
            o, first = number // blocks, number % blocks * _COLUMNS
            finite.append(bool(columns(o, first, min(first + _COLUMNS, inner))))

    if inner == 1:
        split(outer, 2 * n, lambda start, stop: finite.append(bool(rows(start, stop))))
    else:
        split(outer * blocks, 2 * n * min(inner, _COLUMNS), some_blocks)
    if not all(finite):
        raise NonFinite(op)


def _sum_of_all(x: Array, grid_bits: int, fine: bool, op: str) -> float:
    """One sum, cut among the threads: the largest of the parts' magnitudes, then the integers of the parts together."""
    top = max(_gather(x, _top))
    if not top < MOST:
        raise NonFinite(op)
    magic = _magic(top, grid_bits)
    coarse = _scaled(_gather(x, lambda part: _units_of(part, magic)), magic)
    if not fine:
        return coarse
    second = magic - (grid_bits << 52)
    return _scaled(_gather(x, lambda part: _rest_units_of(part, magic, second)), second) + coarse


def _gather(x: Array, part: Callable[[Array], int]) -> list[int]:
    found: list[int] = []
    split(x.shape[0], 1, lambda start, stop: found.append(int(part(x[start:stop]))))
    return found


def _magic(top: int, grid_bits: int) -> int:
    return (max(top, int(LEAST)) & int(EXPONENT)) + ((53 - grid_bits) << 52) + int(HALF)


def _scaled(parts: list[int], magic: int) -> float:
    """Integers of at most 62 bits together, times the unit; the conversion rounds as IEEE does."""
    unit = np.int64((magic & int(EXPONENT)) - (52 << 52)).view(np.float64)
    return float(np.float64(sum(parts)) * unit)


def settle(x: Tensor) -> Tensor | None:
    """products.settle to float32; None unless `x` is contiguous."""
    if not x.is_contiguous():
        return None
    out = torch.empty_like(x, dtype=torch.float32)
    dense.round_all(x, out)
    return out
