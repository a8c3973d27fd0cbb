"""Units counted in float32 lanes: the integers of the grid, bit for bit, to the ends of what the module says it can."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

pytest.importorskip("numba", reason="kernels are compiled by numba")
import numba

from validator.exact import scaling
from validator.exact.kernels import dense, lanes
from validator.exact.kernels.build import IEEE
from validator.exact.random import Stream


@numba.njit(**IEEE)
def _found(x, magic, grid_bits, ahead):  # type: ignore[no-untyped-def]
    units, top = lanes.count_and_look(x.ctypes.data, x.shape[0], magic, grid_bits, ahead.ctypes.data)
    return lanes.fits(magic, grid_bits), units, top


def _check(x: Tensor, exponent: int, grid_bits: int, fits: bool) -> None:
    """`x` is below 2^(exponent + 1)."""
    magic = scaling.grid(torch.tensor(2.0**exponent, dtype=torch.float64), grid_bits)
    expected = (x.double() + magic).view(torch.int64).sub(magic.view(torch.int64)).sum().item()
    ahead = x.flip(0).neg()
    said, units, top = _found(x.numpy(), magic.view(torch.int64).item(), grid_bits, ahead.numpy())
    assert said == fits
    if fits:
        assert units == expected
        assert top == x.abs().max().view(torch.int32)


def _mixed(count: int, exponent: int, seed: str) -> Tensor:
    """Values of every magnitude below 2^(exponent + 1), with ties of both grids and the largest number among them."""
    stream = Stream(b"lanes", seed)
    down = stream.integers(60, (count,))
    x = stream.uniform((count,)).double().mul(2.0).sub(1.0) * 2.0 ** (exponent + 1 - down).double()
    x[::3] = (stream.integers(1 << 24, (count,)).double().sub(1 << 23) * 2.0 ** (exponent - 22))[::3]
    x[1::6] = (stream.integers(256, (count,)).double().sub(128).add(0.5) * 2.0 ** (exponent + 1 - 22))[1::6]
    x[3::8] = math.nextafter(2.0, 0.0) * 2.0**exponent
    single = x.float()
    limit = torch.tensor(2.0).nextafter(torch.tensor(0.0)) * 2.0**exponent
    return single.clamp(-limit, limit)


@pytest.mark.parametrize("grid_bits", [22, 23, 30, 41, 42, 43, 44, 45, 46, 51])
def test_count__every_grid_at_the_ends_of_its_exponents__integers_of_the_grid(grid_bits: int) -> None:
    for exponent in (grid_bits - 151, grid_bits - 150, -60, 0, 1, 124, 125, 126):
        if exponent < -148:
            continue
        fits = 23 <= grid_bits <= 45 and grid_bits - 150 <= exponent <= 124
        _check(_mixed(lanes.STEP * 8, exponent, f"{grid_bits}/{exponent}"), exponent, grid_bits, fits)


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("count", [lanes.STEP, dense._BLOCK, lanes.MOST])
def test_count__most_values_all_at_their_largest__no_lane_overflows(count: int, sign: float) -> None:
    assert dense._BLOCK <= lanes.MOST
    largest = float(torch.tensor(2.0).nextafter(torch.tensor(0.0)))
    for grid_bits in (23, 43, 45):
        # The last two have the largest remainders of the coarse grid, all of one sign.
        for value in (largest, 1.0, 2.0**-22, 3 * 2.0**-22):
            _check(torch.full((count,), sign * value), 0, grid_bits, True)


@settings(max_examples=300, deadline=None)
@given(st.integers(23, 45), st.integers(-105, 124), st.integers(1, 12), st.integers(0, 2**32))
def test_count__any_values__integers_of_the_grid(grid_bits: int, exponent: int, steps: int, seed: int) -> None:
    _check(_mixed(steps * lanes.STEP, exponent, str(seed)), exponent, grid_bits, True)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
def test_look__value_that_is_no_number__is_the_largest(wrong: float) -> None:
    x, ahead = torch.ones(lanes.STEP), torch.ones(lanes.STEP)
    ahead[37] = wrong
    top = _found(x.numpy(), scaling.grid(torch.tensor(1.0).double(), 43).view(torch.int64).item(), 43, ahead.numpy())[2]
    assert top >= 0x7F800000
