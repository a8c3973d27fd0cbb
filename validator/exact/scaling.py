"""Snap floats to a power-of-two grid chosen per slice, so that sums and products of them are sums of integers.

A slice (one row, one column, the elements of one sum) whose largest magnitude lies in [2^E, 2^(E+1)) gets the unit
u = 2^(E+1-b): every element becomes the nearest multiple of u, at most 2^b units. No rescaling is needed: multiples of
a power of two are integers to floating point, the exponent only rides along.

Rounding is one addition and one subtraction in float64 of the magic number M = 1.5 * 2^52 * u. For |x| <= 2^51 u the
sum x + M lies in [2^52 u, 2^53 u), where neighbouring doubles are exactly u apart, so the addition itself rounds x to a
multiple of u (ties to even) and the subtraction is exact. Both are single IEEE operations, the same on every device.
M is built by shifting exponent bits: no ldexp, no exp2.
"""

from __future__ import annotations

import torch
from torch import Tensor

from validator.exact.errors import NonFinite
from validator.exact.fused import fused

_EXPONENT = 0x7FF << 52
_HALF = 1 << 51
_TINY = 2.0**-400
"""Grids never get finer than a largest magnitude of 2^-400 asks for. float32 never comes near; float64 loses what is
smaller, and in exchange no product of two units can underflow."""
_HUGE = 2.0**400
"""Above it float64 products could overflow in one order and not in another. float32 never comes near."""


def ceil_log2(n: int) -> int:
    """The least e with 2^e >= n, for n >= 1."""
    return (n - 1).bit_length()


def largest(x: Tensor, dims: tuple[int, ...], op: str) -> Tensor:
    """Largest magnitude over `dims` (kept as ones), float64, at least 2^-400.

    This is the only look at the data that refusing infinities costs: amax passes NaN and infinity on.
    Raises NonFinite.
    """
    top = x.abs().amax(dims, keepdim=True).to(torch.float64)
    if not top.max().item() < _HUGE:
        raise NonFinite(op)
    return top.clamp_(min=_TINY)


def grid(top: Tensor, bits: int) -> Tensor:
    """The magic number that snaps values up to `top` (float64, positive) to at most 2^bits units; 1 <= bits <= 51."""
    exponent = top.view(torch.int64).bitwise_and(_EXPONENT)
    return exponent.add_(((53 - bits) << 52) + _HALF).view(torch.float64)


def snap(x: Tensor, magic: Tensor) -> Tensor:
    """`x` rounded to the grid, as a new float64 tensor in the layout of `x`."""
    return x.to(torch.float64, copy=True).add_(magic).sub_(magic)


def slices(x: Tensor, dims: tuple[int, ...], bits: int, count: int, op: str) -> list[Tensor]:
    """`count` float64 tensors, coarse to fine, that add up to `x` within half a unit of the finest grid.

    The unit of each is 2^bits times finer than that of the one before; each holds at most 2^bits of its own units.
    """
    if count == 1:
        return [_one_slice(x, tuple(d % x.dim() for d in dims), bits, op)]
    magic = grid(largest(x, dims, op), bits)
    parts = [snap(x, magic)]
    rest = x
    for _ in range(count - 1):
        rest = torch.sub(rest, parts[-1])
        magic = magic * (1.0 / (1 << bits))
        parts.append(snap(rest, magic))
    return parts


@fused("grids.snap")
def _one_slice(x: Tensor, dims: tuple[int, ...], bits: int, op: str) -> Tensor:
    return snap(x, grid(largest(x, dims, op), bits))


def slice_count(dtype: torch.dtype) -> int:
    """Slices that hold a dtype's precision: one for float32 and narrower, three for float64."""
    return 3 if dtype == torch.float64 else 1
