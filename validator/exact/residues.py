"""Exact products by int8 multiplication: the integers of products.py, found through their residues.

A block product there is an integer of at most k 2^2b <= 2^53 units (k <= 1024). It is determined by its residues modulo
seven pairwise coprime numbers whose product P exceeds 2^55 (Ozaki, Uchino, Imamura: Ozaki scheme II, arXiv 2504.08009;
GEMMul8). So both operands, as integers, are reduced modulo each of them to int8, seven int8 products with int32 sums
are taken, and the Chinese remainder theorem gives back the integer: the same bits, by an engine that is eight times as
fast or faster where the processor or the GPU multiplies int8.

On a CPU the kernels of kernels/residues.py and kernels/tiles.py do all of it; the eager code below, by torch's int8
products, is what they are compared with, and what runs on a GPU. A sum of 1024 products of residues is at most 2^25 in
magnitude: 128 * 128 each of int8, 128 * 255 where one side is without a sign, as processors want it. Without VNNI
torch's own products add pairs in saturating 16 bits, which is wrong for residues beyond 64.

Reconstruction, every step an exact float64 integer operation. C = sum_i c_i W_i - Q P for the int32 sums c_i (they need
no reduction), the weights W_i = 1 mod m_i, 0 mod m_j, |W_i| <= P/2, and some integer Q. With W_i = H_i 2^27 + L_i:
  h = sum_i c_i H_i        |h| <= 2^25 sum_i |H_i| < 0.58 * 2^53
  l = sum_i c_i L_i        |l| <= 2^25 sum_i |L_i| < 0.62 * 2^53
  Q = round(h 2^27 / P)    sum_i c_i W_i / P = Q + C/P, |C/P| <= 0.17, and |l/P| <= 0.11 is left out: below 1/2
  C = (h - Q P_H) 2^27 + (l - Q P_L)

Seven numbers up to 256 leave little room for that: these were chosen because their weights are small.
"""

from __future__ import annotations

import functools
import itertools
import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import pad

from validator.exact import kernels
from validator.exact.scaling import grid, largest, slices, snap

MODULI = (256, 253, 251, 247, 245, 237, 229)
"""Pairwise coprime; a residue nearest to zero, and the error of kernels/moduli.py more, is within int8."""
RANGE = math.prod(MODULI)
"""P: between 2^55.5 and 2^55.6. What lies within +-P/2 is determined."""
DEEPEST = 1024
"""Largest k of one block: its int32 sums stay within 2^25."""
CUT = 1 << 27
"""Where weights are cut into a high and a low part."""

_LEAST_SIDE, _LEAST_DEPTH = 64, 128
_LEAST_SIZE = {"cpu": 400, "cuda": 2048}
"""A product pays from about (size, size) @ (size, size) on."""
_TILE = 1 << 19
"""Elements of the result that torch's products find at a time, from seven int32 sums each (14 MiB)."""
_TILE_CUDA = 1 << 26
_ROWS = 32
"""Rows of a tile, at least: CUDA wants more than 16."""
_MOST = 32 << 20
"""Bytes that a thread keeps for one side of its products, at most: that of weights of 2048 x 2048 is 28 MiB."""


def weight(modulus: int) -> int:
    """W: 1 modulo `modulus`, 0 modulo the others, within +-P/2."""
    rest = RANGE // modulus
    value = rest * pow(rest, -1, modulus) % RANGE
    return value - RANGE if 2 * value > RANGE else value


def halves(value: int) -> tuple[float, float]:
    """(high, low) with value = high * CUT + low and |low| <= CUT/2: both exact as float64."""
    high = (value + CUT // 2) // CUT
    return float(high), float(value - high * CUT)


@dataclass(frozen=True, slots=True, eq=False)
class Residues:
    """One operand, (rows, columns) of it, as integers modulo each of MODULI.

    `values`: int8 (7, rows, columns), in the layout of the operand; on CUDA padded to what int8 products ask.
    `units`: float64, what one unit is worth: (rows, 1) for a left operand, (1, columns) for a right one.
    """

    values: Tensor
    units: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """The same as kernels want it: `values` as kernels/residues.py packs them."""

    values: Tensor
    units: Tensor


Operand: TypeAlias = Residues | Packed
Memory: TypeAlias = Callable[[int], Tensor]
"""int8 (count,) of any content, for packed residues."""


def fresh(count: int) -> Tensor:
    """Memory that is nobody else's: for what is kept."""
    return torch.empty(count, dtype=torch.int8)


class _Own(threading.local):
    """What a thread keeps from product to product: one piece of memory for each side."""

    sides: dict[int, Tensor] | None = None


_own = _Own()


class Room:
    """Memory of any content for the packed operands of one product that nobody keeps. It is the thread's own, and kept,
    at most 2 * _MOST bytes: what is given back and taken again is fresh pages, zeroed, each time.

    Who enters has it alone: a product that begins inside another one, in a signal's handler, gets another room.
    """

    def __enter__(self) -> Room:
        self._sides = _own.sides or {}
        _own.sides = None
        return self

    def __exit__(self, *_: object) -> None:
        _own.sides = self._sides

    def of(self, side: int, count: int) -> Tensor:
        """int8 (count,), until the next product of this thread."""
        found = self._sides.get(side)
        if found is None or found.numel() < count:
            if count > _MOST:
                return fresh(count)
            self._sides.pop(side, None)
            with torch.inference_mode(False):  # what is made in that mode cannot be written outside of it
                found = self._sides[side] = fresh(count)
        return found[:count]


def prepare(x: Tensor, dim: int, bits: int, op: str, memory: Memory = fresh) -> list[Operand]:
    """Residues of each matrix of float32 (rows, columns) or (batch, rows, columns), on grids of `bits`.

    `dim` is -1 for a left operand (a grid for each row) and -2 for a right one. Raises NonFinite.
    """
    if bits <= 23 and kernels.available(x):
        pack = kernels.module("residues").pack
        if x.dim() == 2:
            return [Packed(*pack(x, dim, bits, MODULI, op, memory))]
        memory = _parts(memory, x.shape[0])
        return [Packed(*pack(matrix, dim, bits, MODULI, op, memory)) for matrix in x.unbind()]
    return [_reduce(matrix, dim, bits, op) for matrix in (x.unbind() if x.dim() == 3 else (x,))]


def _parts(memory: Memory, count: int) -> Memory:
    """`count` pieces of one piece of memory, all of the size that the first is asked for."""
    left: list[Tensor] = []

    def part(size: int) -> Tensor:
        if not left:
            left.extend(memory(count * size).view(count, size).unbind())
        return left.pop()

    return part


def _reduce(x: Tensor, dim: int, bits: int, op: str) -> Residues:
    magic = grid(largest(x, (dim,), op), bits)
    # The exponent field of the magic number 1.5 * 2^52 units, less 52, is that of the unit.
    units = magic.view(torch.int64).bitwise_and(0x7FF << 52).sub_(52 << 52).view(torch.float64)
    integers = snap(x, magic).div_(units)
    values = torch.empty(len(MODULI), *x.shape, dtype=torch.int8, device=x.device)
    for i, modulus in enumerate(MODULI):
        # Rounding ties up: 128 modulo 256 is -128, which int8 holds.
        values[i] = torch.sub(integers, torch.floor((integers * (1 / modulus)).add_(0.5)).mul_(modulus))
    return Residues(_padded(values, dim) if x.is_cuda else values, units)


def _padded(values: Tensor, dim: int) -> Tensor:
    """Depth and columns to multiples of 8, rows of a left operand to more than 16: zeros add nothing."""
    rows, columns = values.shape[1:]
    least = _ROWS if dim == -1 else 8
    return pad(values, (0, -columns % 8, 0, max(-rows % 8, least - rows)))


def multiply(left: list[Operand], right: list[Operand], batched: bool, block: int, dtype: torch.dtype) -> Tensor:
    """The products of the matrices of `left` and `right`, in blocks of `block` <= DEEPEST of the depth, in `dtype`.

    (m, n), or (batch, m, n) if `batched`. float64 as products.product gives it, up to the sign of a zero; float32 as
    that is after products.settle.
    """
    packed = isinstance(left[0], Packed)
    shape, device = (left[0].units.shape[0], right[0].units.shape[1]), left[0].units.device
    kind = dtype if packed or left[0].values.shape[2] <= block else torch.float64
    out = torch.empty(len(left), *shape, dtype=kind, device=device)
    for a, b, each in zip(left, right, out.unbind(), strict=True):
        if packed:
            kernels.module("tiles").multiply((a.values, a.units), (b.values, b.units), block, _weights(), each)
        else:
            _by_torch(a, b, block, each)
    result = out if batched else out[0]
    return result if kind == dtype else result.to(dtype).add_(0.0)


def _by_torch(left: Operand, right: Operand, block: int, out: Tensor) -> None:
    n, depth, width = right.units.shape[1], left.values.shape[2], right.values.shape[2]
    for start, stop in _tiles(left.values.shape[1], width, out.device):
        sums = torch.empty(len(MODULI), stop - start, width, dtype=torch.int32, device=out.device)
        for first in range(0, depth, block):
            for i in range(len(MODULI)):
                a, b = left.values[i, start:stop, first : first + block], right.values[i, first : first + block]
                torch._int_mm(a, b, out=sums[i])
            target = out[start:stop]
            _combine(sums[:, : target.shape[0], :n], left.units[start:stop], right.units, target, first > 0)


def _tiles(m: int, n: int, device: torch.device) -> Iterator[tuple[int, int]]:
    """Ranges of rows. No result depends on where they are cut."""
    tile = _TILE_CUDA if device.type == "cuda" else _TILE
    rows = max(_ROWS, tile // n // _ROWS * _ROWS)
    cuts = list(range(0, max(m - _ROWS, 0) + 1, rows))
    return itertools.pairwise([*cuts, m])


@functools.cache
def _weights() -> tuple[float, ...]:
    """H_i, L_i, P_H, P_L and 2^27 / P."""
    high, low = zip(*(halves(weight(m)) for m in MODULI), strict=True)
    return (*high, *low, *halves(RANGE), CUT / RANGE)


def _combine(sums: Tensor, left: Tensor, right: Tensor, out: Tensor, add: bool) -> None:
    """Write, or add to, `out` the integers that have the residues `sums`, times their units."""
    high, low = _weights()[: len(MODULI)], _weights()[len(MODULI) :]
    above, below = torch.zeros(2, *out.shape, dtype=torch.float64, device=out.device)
    for i, part in enumerate(sums):
        wide = part.to(torch.float64)
        above.add_(wide * high[i])
        below.add_(wide * low[i])
    turns = torch.round(above * (CUT / RANGE))
    whole = halves(RANGE)
    value = above.sub_(turns * whole[0]).mul_(CUT).add_(below.sub_(turns * whole[1])).mul_(left).mul_(right)
    if add:
        out.add_(value)
    else:
        out.copy_(value).add_(0.0)


def pays(a: Tensor, b: Tensor) -> bool:
    """Whether this engine is the faster one for a @ b on this device. Either gives the same bits.

    Large float32 operands only, on a CPU with VNNI in 512 bits (Cascade Lake, Zen 4 and later; measured as fast as
    float64 or a tenth faster at the least size) or a GPU with int8 tensor cores (compute capability 8.0 and later; not
    measured yet).
    """
    if not a.dtype == b.dtype == torch.float32 or a.device.type not in _LEAST_SIZE:
        return False
    if a.device.type == "cpu" and not kernels.available(a, b):
        return False
    m, k, n = a.shape[-2], a.shape[-1], b.shape[-1]
    if min(m, n) < _LEAST_SIDE or k < _LEAST_DEPTH or m * k * n < _LEAST_SIZE[a.device.type] ** 3:
        return False
    return _at_hand(a.device)


@functools.cache
def _at_hand(device: torch.device) -> bool:
    """Whether the device multiplies int8 fast, and rightly: one product is compared with that in float64."""
    if device.type == "cuda":
        fast = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        fast = torch.backends.cpu.get_cpu_capability() == "AVX512" and torch.cpu._is_vnni_supported()
    if not fast:
        return False
    side = 256
    x = torch.arange(side * side, dtype=torch.int32, device=device).mul_(40503).bitwise_and_(0xFFFF).view(side, side)
    a = x.to(torch.float32).sub_(32767.5)
    try:
        return torch.equal(_by_residues(a), _by_float64(a))
    except RuntimeError:  # torch has no int8 product for this device
        return False


def _by_residues(a: Tensor) -> Tensor:
    return multiply(prepare(a, -1, 21, "probe"), prepare(a, -2, 21, "probe"), False, DEEPEST, torch.float32)


def _by_float64(a: Tensor) -> Tensor:
    left, right = slices(a, (-1,), 21, 1, "probe")[0], slices(a, (-2,), 21, 1, "probe")[0]
    return (left @ right).to(torch.float32).add_(0.0)
