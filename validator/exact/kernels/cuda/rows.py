"""The softmax family and its backwards (compound.py): one program for each row.

A row is one slice along the dimensions that an operator sums over, brought to the end and laid side by side. A program
walks through its row in blocks, once for each thing that it must know before the next: the largest element, the sums,
the results; what is cheap to compute is computed again. Sums are those of sums.py: each value on the row's grid, added
as an integer. Elements beyond the end of the row count as zeros.

Rows with a magnitude from 2^400 on, which scaling.largest would refuse, are reported in `refused`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import triton.language as tl
from torch import Tensor

from validator.exact.errors import NonFinite
from validator.exact.kernels.cuda import scalar
from validator.exact.kernels.cuda.grids import MOST, lift, magic_bits, magnitude, rest_units, scaled, step, units
from validator.exact.kernels.cuda.launch import Constant, Kernel, jit, launch, power_of_two
from validator.exact.kernels.cuda.layout import back, dense, rows
from validator.exact.kernels.cuda.scalar import bits, from_bits, negative, settled
from validator.exact.sums import normal_dims, sum_bits

_BLOCK = 2048
"""Elements of a row that a program holds at once, at most."""
MOST_BITS = tl.constexpr(MOST)
_ONE = tl.constexpr(0x3FF << 52)
"""The bits of 1."""
_LOWEST = tl.constexpr(-(1 << 63))
_MINUS_INFINITY = tl.constexpr(-math.inf)
_ALL_BUT_SIGN = tl.constexpr((1 << 63) - 1)


@jit
def wide(x: tl.tensor, at: tl.tensor, n: tl.tensor) -> tl.tensor:
    """Elements of a row as float64."""
    return tl.load(x + at, mask=at < n, other=0.0).to(tl.float64)


@jit
def row_sum(count: tl.tensor, rest: tl.tensor, magic: tl.tensor, step: tl.tensor, fine: tl.constexpr) -> tl.tensor:
    """What the units of a row add up to, as float64."""
    result = scaled(tl.sum(count, 0), magic)
    if fine:
        result = scaled(tl.sum(rest, 0), magic - step) + result
    return result


@jit
def _rank(x: tl.tensor) -> tl.tensor:
    """An int64 that orders float64 numbers as they are ordered; its own inverse on the bits."""
    return x ^ ((x >> 63) & _ALL_BUT_SIGN)


@jit
def _largest(x: tl.tensor, n: tl.tensor, block: tl.constexpr) -> tl.tensor:
    """The largest of a row, as float64. A NaN may win or not: the sum that follows meets it anyway."""
    top = tl.full([block], _LOWEST, tl.int64)
    for first in range(0, n, block):
        at = first + tl.arange(0, block)
        value = tl.load(x + at, mask=at < n, other=_MINUS_INFINITY).to(tl.float64)
        top = tl.maximum(top, _rank(bits(value)))
    return from_bits(_rank(tl.max(top, 0)))


@jit
def _mass(
    x: tl.tensor,
    largest: tl.tensor,
    n: tl.tensor,
    lift: tl.tensor,
    step: tl.tensor,
    fine: tl.constexpr,
    block: tl.constexpr,
) -> tl.tensor:
    """The sum of e^(x - largest) over a row, and whether it is a number.

    The largest term is e^0 = 1, which gives the grid before the terms are known, unless one is NaN.
    """
    magic = magic_bits(tl.full([], _ONE, tl.int64), lift)
    count, rest, top = tl.zeros([block], tl.int64), tl.zeros([block], tl.int64), tl.zeros([block], tl.int64)
    for first in range(0, n, block):
        at = first + tl.arange(0, block)
        term = tl.where(at < n, scalar.exp(wide(x, at, n) - largest), 0.0)
        top = tl.maximum(top, magnitude(term))
        count += units(term, magic)
        if fine:
            rest += rest_units(term, magic, magic - step)
    return row_sum(count, rest, magic, step, fine), tl.max(top, 0) == _ONE


@jit
def _softmax(
    x: tl.tensor, out: tl.tensor, refused: tl.tensor, n: int, lift: int, step: int,
    name: tl.constexpr, fine: tl.constexpr, block: tl.constexpr,
) -> None:  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    x += row * n
    largest = _largest(x, n, block)
    mass, finite = _mass(x, largest, n, lift, step, fine, block)
    tl.store(refused, 1, mask=finite == 0)
    if name == "logsumexp":
        tl.store(out + row, settled(scalar.log(mass) + largest, out))
    else:
        out += row * n
        for first in range(0, n, block):
            at = first + tl.arange(0, block)
            below = wide(x, at, n) - largest
            if name == "softmax":
                result = scalar.exp(below) / mass
            else:
                tl.static_assert(name == "log_softmax")
                result = below - scalar.log(mass)
            tl.store(out + at, settled(result, out), mask=at < n)


@jit
def _term(grad: tl.tensor, y: tl.tensor, at: tl.tensor, n: tl.tensor, log: tl.constexpr) -> tl.tensor:
    """What the backward of a softmax adds up: g y, or g alone for its logarithm."""
    term = wide(grad, at, n)
    if not log:
        term = term * wide(y, at, n)
    return term


@jit
def _softmax_backward(
    grad: tl.tensor, y: tl.tensor, out: tl.tensor, refused: tl.tensor, n: int, lift: int, step: int,
    log: tl.constexpr, fine: tl.constexpr, block: tl.constexpr,
) -> None:  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    grad += row * n
    y += row * n
    out += row * n
    top = tl.zeros([block], tl.int64)
    for first in range(0, n, block):
        top = tl.maximum(top, magnitude(_term(grad, y, first + tl.arange(0, block), n, log)))
    largest = tl.max(top, 0)
    tl.store(refused, 1, mask=largest >= MOST_BITS)
    magic = magic_bits(largest, lift)
    count, rest = tl.zeros([block], tl.int64), tl.zeros([block], tl.int64)
    for first in range(0, n, block):
        term = _term(grad, y, first + tl.arange(0, block), n, log)
        count += units(term, magic)
        if fine:
            rest += rest_units(term, magic, magic - step)
    total = row_sum(count, rest, magic, step, fine)
    for first in range(0, n, block):
        at = first + tl.arange(0, block)
        g, value = wide(grad, at, n), wide(y, at, n)
        result = negative(scalar.exp(value) * total) + g if log else (g - total) * value
        tl.store(out + at, settled(result, out), mask=at < n)


def softmax(x: Tensor, dim: int, half_to_float: bool) -> Tensor | None:
    """compound.softmax."""
    return _rowwise(_softmax, (x,), dim, "aten._softmax", name="softmax")


def log_softmax(x: Tensor, dim: int, half_to_float: bool) -> Tensor | None:
    """compound.log_softmax."""
    return _rowwise(_softmax, (x,), dim, "aten._log_softmax", name="log_softmax")


def softmax_backward(grad: Tensor, output: Tensor, dim: int, dtype: torch.dtype) -> Tensor | None:
    """compound.softmax_backward."""
    return _rowwise(_softmax_backward, (grad, output), dim, "aten._softmax_backward_data", log=False)


def log_softmax_backward(grad: Tensor, output: Tensor, dim: int, dtype: torch.dtype) -> Tensor | None:
    """compound.log_softmax_backward."""
    return _rowwise(_softmax_backward, (grad, output), dim, "aten._log_softmax_backward_data", log=True)


def logsumexp(x: Tensor, dim: Sequence[int], keepdim: bool = False) -> Tensor | None:
    """compound.logsumexp."""
    dims = normal_dims(dim, x.dim())
    if not dims:
        return None
    source, order = rows(x, dims)
    out = source.new_empty(source.shape[0])
    each_row(_softmax, source, (source, out), "aten.logsumexp", name="logsumexp")
    kept = out.view([1 if d in dims else x.shape[d] for d in order])
    result = back(kept, order)
    return result if keepdim else result.squeeze(dims)


def _rowwise(kernel: Kernel, operands: Sequence[Tensor], dim: int, op: str, **constants: Constant) -> Tensor | None:
    """A kernel of rows in and rows out along `dim`; the result has the strides of the first operand."""
    first = operands[0]
    if not first.dim() or any(x.shape != first.shape or x.dtype != first.dtype for x in operands):
        return None
    each, orders = zip(*(rows(x, (dim % first.dim(),)) for x in operands), strict=True)
    out = torch.empty_like(each[0])
    each_row(kernel, out, (*each, out), op, **constants)
    shape = [first.shape[d] for d in orders[0]]
    return dense(back(out.view(shape), orders[0]), torch.empty_like(first))


def each_row(kernel: Kernel, model: Tensor, arguments: Sequence[Tensor], op: str, **constants: Constant) -> None:
    """Run a program for each row of `model` (rows, n). Raises NonFinite."""
    count, n = model.shape
    refused = torch.zeros(1, dtype=torch.int32, device=model.device)
    block = min(power_of_two(n), _BLOCK)
    grid = sum_bits(n)
    constants |= {"fine": model.dtype == torch.float64, "block": block}
    launch(kernel, count, block, *arguments, refused, n, lift(grid), step(grid), **constants)
    if refused.item():
        raise NonFinite(op)
