"""Softmax, normalisation and their backwards (compound.py), one row at a time while it is in the cache.

A row is one slice along the dimensions that an operator sums over, brought to the end and laid side by side. Its sums
are those of sums.py: each value on the row's grid, added as an integer. Every kernel returns whether all magnitudes
stayed below 2^400, which is what `scaling.largest` asks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from llvmlite import ir
from numba.core import types
from torch import Tensor

from validator.exact.errors import NonFinite
from validator.exact.kernels import scalar
from validator.exact.kernels.build import Array, Code, Kernel, Scalar, bits, from_bits, inline, kernel, primitive
from validator.exact.kernels.parallel import split
from validator.exact.kernels.pointwise import dense
from validator.exact.kernels.scalar import settled
from validator.exact.kernels.units import magic_bits, magnitude, unit_of, wide_bits
from validator.exact.sums import normal_dims, sum_bits

_WORK = 6
"""Elementary steps (see `split`) for each element of a row."""
MOST: Scalar = np.int64(0x58F) << np.int64(52)
"""The bits of 2^400."""


@primitive
def _rank(typing: Code, value: Code) -> Code:
    """An int64 that orders the bits of float64 numbers as the numbers are ordered; its own inverse."""

    def code(context: Code, builder: Code, signature: Code, args: Code) -> Code:
        integer = ir.IntType(64)
        sign = builder.ashr(args[0], integer(63))
        return builder.xor(args[0], builder.and_(sign, integer((1 << 63) - 1)))

    return types.int64(types.int64), code


@inline
def _largest(x: Array) -> Scalar:
    """The largest of a row, as float64. A NaN may win or not: the sum that follows meets it anyway."""
    top = _rank(bits(np.float64(x[0])))
    for j in range(x.size):
        top = max(top, _rank(bits(np.float64(x[j]))))
    return from_bits(_rank(top))


@inline
def top_of(values: Array) -> Scalar:
    """The largest magnitude of a float64 row, as bits."""
    top = np.int64(0)
    for j in range(values.size):
        top = max(top, magnitude(values[j]))
    return top


@inline
def total_of(values: Array, top: Scalar, grid_bits: int, fine: bool) -> Scalar:
    """sums.total of a row whose largest magnitude has the bits `top`."""
    magic = magic_bits(top, grid_bits)
    number = from_bits(magic)
    units = np.int64(0)
    for j in range(values.size):
        units += bits(np.float64(values[j]) + number)
    coarse = np.float64(units - magic * np.int64(values.size)) * unit_of(magic)
    return _rest(values, magic, grid_bits) + coarse if fine else coarse


@inline
def _rest(values: Array, magic: Scalar, grid_bits: int) -> Scalar:
    """What the first grid rounded away, on the second."""
    number = from_bits(magic)
    second = magic - (grid_bits << np.int64(52))
    finer = from_bits(second)
    units = np.int64(0)
    for j in range(values.size):
        value = np.float64(values[j])
        units += bits((value - ((value + number) - number)) + finer)
    return np.float64(units - second * np.int64(values.size)) * unit_of(second)


@inline
def scratch(x: Array) -> Array:
    """Room for one row. Unpacked from a matrix it would lose its stride of one, and the loops their vector code."""
    return np.empty(x.shape[1], np.float64)


@inline
def _mass(values: Array, largest: Scalar, grown: Array, grid_bits: int, fine: bool) -> tuple[Scalar, Scalar]:
    """The sum of e^(x - largest) over a row, and whether it is a number; the terms go into `grown`.

    The largest term is e^0 = 1, which gives the grid before the terms are known, unless one is NaN.
    """
    one = bits(1.0)
    magic = magic_bits(one, grid_bits)
    number = from_bits(magic)
    units, top = np.int64(0), np.int64(0)
    for j in range(grown.size):
        term = scalar.exp(np.float64(values[j]) - largest)
        grown[j] = term
        units += bits(term + number)
        top = max(top, magnitude(term))
    coarse = np.float64(units - magic * np.int64(grown.size)) * unit_of(magic)
    return (_rest(grown, magic, grid_bits) + coarse if fine else coarse), top == one


@kernel
def _softmax(x: Array, out: Array, grid_bits: int, fine: bool) -> bool:
    all_finite = True
    grown = scratch(x)
    for row in range(x.shape[0]):
        values, result = x[row], out[row]
        mass, finite = _mass(values, _largest(values), grown, grid_bits, fine)
        all_finite &= finite
        for j in range(values.size):
            result[j] = settled(grown[j] / mass, values[j])
    return all_finite


@kernel
def _softmax_backward(grad: Array, y: Array, out: Array, grid_bits: int, fine: bool) -> bool:
    finite = True
    products = scratch(y)
    for row in range(y.shape[0]):
        g, values, result = grad[row], y[row], out[row]
        for j in range(products.size):
            products[j] = np.float64(g[j]) * np.float64(values[j])
        top = top_of(products)
        finite &= top < MOST
        mean = total_of(products, top, grid_bits, fine)
        for j in range(products.size):
            result[j] = settled((np.float64(g[j]) - mean) * np.float64(values[j]), g[j])
    return finite


@kernel
def _log_softmax(x: Array, out: Array, grid_bits: int, fine: bool) -> bool:
    all_finite = True
    grown = scratch(x)
    for row in range(x.shape[0]):
        values, result = x[row], out[row]
        largest = _largest(values)
        mass, finite = _mass(values, largest, grown, grid_bits, fine)
        log_mass = scalar.log(mass)
        all_finite &= finite
        for j in range(values.size):
            result[j] = settled((np.float64(values[j]) - largest) - log_mass, values[j])
    return all_finite


@kernel
def _logsumexp(x: Array, out: Array, grid_bits: int, fine: bool) -> bool:
    all_finite = True
    grown = scratch(x)
    for row in range(x.shape[0]):
        values = x[row]
        largest = _largest(values)
        mass, finite = _mass(values, largest, grown, grid_bits, fine)
        log_mass = scalar.log(mass)
        all_finite &= finite
        out[row] = settled(log_mass + largest, values[0])
    return all_finite


@kernel
def _log_softmax_backward(y: Array, grad: Array, out: Array, grid_bits: int, fine: bool) -> bool:
    finite = True
    for row in range(y.shape[0]):
        g, values, result = grad[row], y[row], out[row]
        top = magnitude(g[0])
        for j in range(g.size):
            top = max(top, magnitude(g[j]))
        finite &= wide_bits(top) < MOST
        mass = total_of(g, wide_bits(top), grid_bits, fine)
        for j in range(g.size):
            result[j] = settled(-(scalar.exp(np.float64(values[j])) * mass) + np.float64(g[j]), g[j])
    return finite


def softmax(x: Tensor, dim: int, half_to_float: bool) -> Tensor | None:
    """compound.softmax."""
    return _rowwise(_softmax, (x,), dim, "aten._softmax")


def softmax_backward(grad: Tensor, output: Tensor, dim: int, dtype: torch.dtype) -> Tensor | None:
    """compound.softmax_backward."""
    return _rowwise(_softmax_backward, (grad, output), dim, "aten._softmax_backward_data")


def log_softmax(x: Tensor, dim: int, half_to_float: bool) -> Tensor | None:
    """compound.log_softmax."""
    return _rowwise(_log_softmax, (x,), dim, "aten._log_softmax")


def log_softmax_backward(grad: Tensor, output: Tensor, dim: int, dtype: torch.dtype) -> Tensor | None:
    """compound.log_softmax_backward."""
    return _rowwise(_log_softmax_backward, (output, grad), dim, "aten._log_softmax_backward_data")


def logsumexp(x: Tensor, dim: Sequence[int], keepdim: bool = False) -> Tensor | None:
    """compound.logsumexp."""
    dims = normal_dims(dim, x.dim())
    if not dims:
        return None
    source, order = _side_by_side(x, dims)
    rows, n = source.shape
    sums = torch.empty(rows, dtype=x.dtype)
    into, fine = sums.numpy(), x.dtype == torch.float64

    def run(start: int, stop: int) -> bool:
        return bool(_logsumexp(source[start:stop], into[start:stop], sum_bits(n), fine))

    checked(rows, n, run, "aten.logsumexp")
    kept = sums.view([1 if d in dims else x.shape[d] for d in order])
    result = _put_back(kept, order)
    return result if keepdim else result.squeeze(dims)


def _rowwise(run: Kernel, operands: Sequence[Tensor], dim: int, op: str) -> Tensor | None:
    """A kernel of rows in and rows out along `dim`; the result has the strides of the first operand."""
    first = operands[0]
    if not first.dim() or any(x.shape != first.shape or x.dtype != first.dtype for x in operands):
        return None
    dims = (dim % first.dim(),)
    each, orders = zip(*(_side_by_side(x, dims) for x in operands), strict=True)
    rows, n = each[0].shape
    out = torch.empty([first.shape[d] for d in orders[0]], dtype=first.dtype)
    into, fine = out.numpy().reshape(rows, n), first.dtype == torch.float64

    def part(start: int, stop: int) -> bool:
        cut = slice(start, stop)
        return bool(run(*(a[cut] for a in each), into[cut], sum_bits(n), fine))

    checked(rows, n, part, op)
    return dense(_put_back(out, orders[0]), torch.empty_like(first))


def _side_by_side(x: Tensor, dims: tuple[int, ...]) -> tuple[Array, tuple[int, ...]]:
    """`x` as rows over `dims`, (rows, n), copied where need be, and the order of dimensions that it has then."""
    order = (*(d for d in range(x.dim()) if d not in dims), *dims)
    n = math.prod(x.shape[d] for d in dims)
    return x.detach().permute(order).contiguous().view(-1, n).numpy(), order


def _put_back(x: Tensor, order: Sequence[int]) -> Tensor:
    return x.permute([order.index(d) for d in range(len(order))])


def checked(rows: int, n: int, run: Callable[[int, int], bool], op: str) -> None:
    """Run all rows, on several threads if there are many. Raises NonFinite."""
    finite: list[bool] = []
    split(rows, _WORK * n, lambda start, stop: finite.append(run(start, stop)))
    if not all(finite):
        raise NonFinite(op)
