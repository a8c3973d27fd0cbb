"""Exact products by int8 multiplication: the integers of products.py, found through their residues.

A block product there is an integer of at most k 2^2b <= 2^53 units (k <= 1024). It is determined by its residues modulo
seven pairwise coprime numbers whose product P exceeds 2^55 (Ozaki, Uchino, Imamura: Ozaki scheme II, arXiv 2504.08009;
GEMMul8). So both operands, as integers, are reduced modulo each of them to int8, seven int8 products with int32 sums
are taken, and the Chinese remainder theorem gives back the integer: the same bits, by an engine that is eight times as
fast or faster where the processor or the GPU multiplies int8.

A sum of 1024 products of residues is at most 2^24 in magnitude. Without VNNI oneDNN adds pairs of int8 products in
saturating 16 bits, which is wrong for residues beyond 64: `pays` never takes this engine there.

Reconstruction, every step an exact float64 integer operation. C = sum_i c_i W_i - Q P for the int32 sums c_i (they need
no reduction), the weights W_i = 1 mod m_i, 0 mod m_j, |W_i| <= P/2, and some integer Q. With W_i = H_i 2^27 + L_i:
  h = sum_i c_i H_i        |h| <= 2^24 sum_i |H_i| < 0.29 * 2^53
  l = sum_i c_i L_i        |l| <= 2^24 sum_i |L_i| < 0.31 * 2^53
  Q = round(h 2^27 / P)    sum_i c_i W_i / P = Q + C/P, |C/P| <= 0.17, and |l/P| <= 0.053 is left out: below 1/2
  C = (h - Q P_H) 2^27 + (l - Q P_L)

Seven numbers up to 256 leave little room for that: these were chosen because their weights are small.
"""

from __future__ import annotations

import functools
import itertools
import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from validator.exact import kernels
from validator.exact.scaling import grid, largest, slices, snap

MODULI = (256, 253, 251, 247, 245, 237, 229)
"""Pairwise coprime; a residue nearest to zero, and the error of kernels/residues.py more, is within int8."""
RANGE = math.prod(MODULI)
"""P: between 2^55.5 and 2^55.6. What lies within +-P/2 is determined."""
DEEPEST = 1024
"""Largest k of one block: its int32 sums stay within 2^24."""
CUT = 1 << 27
"""Where weights are cut into a high and a low part."""

_LEAST_SIDE, _LEAST_DEPTH = 64, 128
_LEAST_SIZE = {"cpu": 448, "cuda": 2048}
"""A product pays from about (size, size) @ (size, size) on."""
_TILE = 1 << 19
"""Elements of the result that are found at a time, from seven int32 sums each (14 MiB)."""
_TILE_CUDA = 1 << 26
_ROWS = 32
"""Rows of a tile, at least: CUDA wants more than 16."""


def weight(modulus: int) -> int:
    """W: 1 modulo `modulus`, 0 modulo the others, within +-P/2."""
    rest = RANGE // modulus
    value = rest * pow(rest, -1, modulus) % RANGE
    return value - RANGE if 2 * value > RANGE else value


def halves(value: int) -> tuple[float, float]:
    """(high, low) with value = high * CUT + low and |low| <= CUT/2: both exact as float64."""
    high = (value + CUT // 2) // CUT
    return float(high), float(value - high * CUT)


class _Kept(threading.local):
    """What a thread keeps from product to product."""

    sums: Tensor | None = None


_kept = _Kept()


@dataclass(frozen=True, slots=True, eq=False)
class Residues:
    """One operand, (rows, columns) of it, as integers modulo each of MODULI.

    `values`: int8 (7, rows, columns), in the layout of the operand; on CUDA padded to what int8 products ask.
    `units`: float64, what one unit is worth: (rows, 1) for a left operand, (1, columns) for a right one.
    """

    values: Tensor
    units: Tensor


def prepare(x: Tensor, dim: int, bits: int, op: str) -> list[Residues]:
    """Residues of each matrix of float32 (rows, columns) or (batch, rows, columns), on grids of `bits`.

    `dim` is -1 for a left operand (a grid for each row) and -2 for a right one. Raises NonFinite.
    """
    return [_reduce(matrix, dim, bits, op) for matrix in (x.unbind() if x.dim() == 3 else (x,))]


def _reduce(x: Tensor, dim: int, bits: int, op: str) -> Residues:
    if bits <= 23 and kernels.available(x):
        return Residues(*kernels.module("residues").reduce(x, dim, bits, MODULI, op))
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


def multiply(left: list[Residues], right: list[Residues], batched: bool, block: int, dtype: torch.dtype) -> Tensor:
    """The products of the matrices of `left` and `right`, in blocks of `block` <= DEEPEST of the depth, in `dtype`.

    (m, n), or (batch, m, n) if `batched`. float64 as products.product gives it, up to the sign of a zero; float32 as
    that is after products.settle.
    """
    results = [_multiply(a, b, block, dtype) for a, b in zip(left, right, strict=True)]
    return torch.stack(results) if batched else results[0]


def _multiply(left: Residues, right: Residues, block: int, dtype: torch.dtype) -> Tensor:
    m, n, depth = left.units.shape[0], right.units.shape[1], left.values.shape[2]
    device = left.values.device
    out = torch.empty(m, n, dtype=dtype if depth <= block else torch.float64, device=device)
    tiles = list(_tiles(left.values.shape[1], right.values.shape[2], device))
    width = right.values.shape[2]
    sums = _room(len(MODULI) * max(b - a for a, b in tiles) * width, device)
    for start, stop in tiles:
        part = sums[: len(MODULI) * (stop - start) * width].view(len(MODULI), stop - start, width)
        each = part.unbind()  # slices of seven at once: one of each would cost as much as a small product's kernel
        for first in range(0, depth, block):
            a = left.values[:, start:stop, first : first + block].unbind()
            b = right.values[:, first : first + block].unbind()
            for i in range(len(MODULI)):
                torch._int_mm(a[i], b[i], out=each[i])
            target = out[start:stop]
            _combine(part[:, : target.shape[0], :n], left.units[start:stop], right.units, target, first > 0)
    return out if out.dtype == dtype else out.to(dtype).add_(0.0)


def _room(count: int, device: torch.device) -> Tensor:
    """int32 (count,) to work in, of any content. On a CPU it is the thread's own and kept, at most 28 MiB: memory that
    is given back and taken again is fresh pages, zeroed, each time, a tenth to a fifth of a small product's time.
    """
    if device.type != "cpu" or count > 2 * len(MODULI) * _TILE:
        return torch.empty(count, dtype=torch.int32, device=device)
    if _kept.sums is None or _kept.sums.numel() < count:
        with torch.inference_mode(False):  # what is made in that mode cannot be written outside of it
            _kept.sums = torch.empty(count, dtype=torch.int32, device=device)
    return _kept.sums[:count]


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
    if kernels.available(out):
        kernels.module("residues").combine(sums, left, right, out, _weights(), add)
        return
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

    Large float32 operands only, on a CPU with VNNI in 512 bits (Cascade Lake, Zen 4 and later; measured 1.3 to 1.7
    times the speed of float64) or a GPU with int8 tensor cores (compute capability 8.0 and later; not measured yet).
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
