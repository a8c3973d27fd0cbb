"""Additions into slots that several sources share (scatter.py), in one pass for the grids and one for the sums."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from validator.exact.kernels.build import Array, Scalar, bits, from_bits, kernel
from validator.exact.kernels.units import magic_bits, magnitude, unit_of, wide_bits


@kernel
def _largest_of_slots(index: Array, source: Array, magic: Array, grid_bits: Scalar) -> None:
    for i in range(index.shape[0]):
        slot = index[i]
        magic[slot] = max(magic[slot], wide_bits(magnitude(source[i])))
    for slot in range(magic.shape[0]):
        magic[slot] = magic_bits(magic[slot], grid_bits)


@kernel
def _add(index: Array, source: Array, magic: Array, units: Array) -> None:
    for i in range(index.shape[0]):
        slot = index[i]
        units[slot] += bits(np.float64(source[i]) + from_bits(magic[slot])) - magic[slot]


@kernel
def _add_rest(index: Array, source: Array, magic: Array, finer: Array, units: Array) -> None:
    for i in range(index.shape[0]):
        slot, value = index[i], np.float64(source[i])
        number = from_bits(magic[slot])
        rest = value - ((value + number) - number)
        units[slot] += bits(rest + from_bits(finer[slot])) - finer[slot]


@kernel
def _scale(units: Array, magic: Array, out: Array) -> None:
    for slot in range(out.shape[0]):
        out[slot] += np.float64(units[slot]) * unit_of(magic[slot])


def accumulate(source: Tensor, index: Tensor, slots: int, grid_bits: int, fine: bool) -> Tensor | None:
    """float64 (slots,) with the sources (n,), all finite, added at `index` (n,) in 0 .. slots - 1; None unless that is
    int64. Raises IndexError.
    """
    if index.dtype != torch.int64:
        return None
    where, values = index.contiguous().numpy(), source.detach().contiguous().numpy()
    if not 0 <= where.min() <= where.max() < slots:
        raise IndexError(f"an index lies outside 0 .. {slots - 1}")
    magic, units = np.zeros(slots, np.int64), np.zeros(slots, np.int64)
    out = torch.zeros(slots, dtype=torch.float64)
    _largest_of_slots(where, values, magic, grid_bits)
    _add(where, values, magic, units)
    _scale(units, magic, out.numpy())
    if fine:
        finer = magic - (grid_bits << 52)
        units[:] = 0
        _add_rest(where, values, magic, finer, units)
        _scale(units, finer, out.numpy())
    return out
