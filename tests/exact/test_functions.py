"""The fixed functions against mpmath and the correctly rounded square roots of the processor."""

from __future__ import annotations

import math
from collections.abc import Callable

import mpmath
import numpy as np
import pytest
import torch
from torch import Tensor

from validator.exact import UnsupportedOp, exact, functions
from validator.exact.random import Stream

mpmath.mp.prec = 120


def _spread(name: str, scales: list[float], n: int = 400) -> Tensor:
    return torch.cat([Stream(b"spread", f"{name} {s}").normal((n,)).double() * s for s in scales])


def _error(found: Tensor, truth: list[mpmath.mpf]) -> float:
    """Largest error in units of the last place."""
    return max(
        float(abs(mpmath.mpf(a) - t) / math.ulp(float(t))) for a, t in zip(found.tolist(), truth, strict=True) if t != 0
    )


@pytest.mark.parametrize(
    ("function", "truth", "scales", "positive", "units"),
    [
        (functions.exp, mpmath.exp, [1e-3, 1.0, 100.0], False, 2),
        (functions.expm1, mpmath.expm1, [1e-6, 0.3, 30.0], False, 4),
        (functions.log, mpmath.log, [1e-300, 1.0, 1e300], True, 2),
        (functions.log1p, mpmath.log1p, [1e-9, 1.0, 1e9], True, 2),
        (functions.sigmoid, lambda x: 1 / (1 + mpmath.exp(-x)), [1e-3, 1.0, 30.0], False, 2),
        (functions.softplus, lambda x: mpmath.log1p(mpmath.exp(x)), [1e-3, 1.0, 30.0], False, 3),
        (functions.tanh, mpmath.tanh, [1e-6, 0.3, 3.0], False, 4),
        (functions.erf, mpmath.erf, [1e-6, 0.4, 2.0], False, 6),
        (functions.erfc, mpmath.erfc, [0.1, 2.0], False, 100),
        (lambda x: functions.normal_cdf(x)[0], mpmath.ncdf, [0.1, 3.0], False, 100),
        (functions.sin, mpmath.sin, [1.0, 1e3, 1e5], False, 4),
        (functions.cos, mpmath.cos, [1.0, 1e3, 1e5], False, 4),
        (functions.rsqrt, lambda x: 1 / mpmath.sqrt(x), [1e-10, 1.0, 1e10], True, 2),
        (lambda x: functions.power(x, 3), lambda x: x**3, [0.1, 10.0], False, 2),
        (lambda x: functions.power(x, -2), lambda x: x**-2, [0.1, 10.0], False, 2),
        (lambda x: functions.power(x, 1.7), lambda x: x ** mpmath.mpf(1.7), [0.1, 10.0], True, 16),
    ],
)  # fmt: skip
def test_function__against_mpmath__within_its_stated_error(
    function: Callable[[Tensor], Tensor],
    truth: Callable[[mpmath.mpf], mpmath.mpf],
    scales: list[float],
    positive: bool,
    units: float,
) -> None:
    x = _spread(str(scales), scales)
    x = x.abs() + torch.finfo(torch.float64).tiny if positive else x
    assert _error(function(x.clone()), [truth(mpmath.mpf(v)) for v in x.tolist()]) < units


def test_sqrt__float64__every_root_correctly_rounded() -> None:
    mantissas = torch.from_numpy(Stream(b"sqrt", "m").words(200_000).astype(np.float64)) * 2.0**-32 + 1.0
    edges = [5e-324, 1e-310, 2.0**-1022, 1 - 2.0**-53, 4 * (1 - 2.0**-53), 1.7976931348623157e308, 0.0, 4.0, math.inf]
    near = mantissas * (mantissas + 2.0**-52)
    x = torch.cat([mantissas, mantissas * 2, near, torch.tensor(edges, dtype=torch.float64)])
    assert np.array_equal(functions.sqrt(x).numpy(), np.sqrt(x.numpy()))


def test_sqrt__float32__every_mantissa_sampled_correctly_rounded() -> None:
    bits = torch.arange(0x3F800000, 0x40800000, 61, dtype=torch.int32)
    x = torch.cat([bits.view(torch.float32), torch.tensor([0.0, 1e-45, 3.4e38, math.inf])])
    with exact():
        found = torch.sqrt(x)
    assert np.array_equal(found.numpy(), np.sqrt(x.numpy()))


@pytest.mark.parametrize(
    ("function", "x", "value"),
    [
        (functions.exp, -math.inf, 0.0),
        (functions.exp, math.inf, math.inf),
        (functions.exp, -1e9, 0.0),
        (functions.log, 0.0, -math.inf),
        (functions.log, math.inf, math.inf),
        (functions.log, 5e-324, -744.4400719213812),
        (functions.log1p, -1.0, -math.inf),
        (functions.sigmoid, -1e9, 0.0),
        (functions.sigmoid, 1e9, 1.0),
        (functions.tanh, 1e9, 1.0),
        (functions.tanh, -math.inf, -1.0),
        (functions.erf, 50.0, 1.0),
        (functions.erf, -math.inf, -1.0),
        (functions.softplus, -1e9, 0.0),
        (functions.softplus, 1e9, 1e9),
    ],
)  # fmt: skip
def test_function__at_its_edge__limit(function: Callable[[Tensor], Tensor], x: float, value: float) -> None:
    assert function(torch.tensor([x], dtype=torch.float64)).item() == value


@pytest.mark.parametrize("function", [functions.exp, functions.log, functions.tanh, functions.sqrt, functions.erf])
def test_function__not_a_number__stays_one(function: Callable[[Tensor], Tensor]) -> None:
    assert function(torch.tensor([math.nan], dtype=torch.float64)).isnan().all()


@pytest.mark.parametrize("function", [functions.log, functions.sqrt])
def test_function__negative_argument__not_a_number(function: Callable[[Tensor], Tensor]) -> None:
    assert function(torch.tensor([-1.0], dtype=torch.float64)).isnan().all()


def test_sin__angle_beyond_reduction__refused_by_name() -> None:
    with exact(), pytest.raises(UnsupportedOp, match=r"aten\.sin"):
        torch.sin(torch.tensor([3e6]))


def test_function__alone_or_among_others__same_bits() -> None:
    x = Stream(b"place", "x").normal((1003,)).double()
    for function in (functions.exp, functions.tanh, functions.sigmoid, functions.erf, lambda v: functions.log(v.abs())):
        alone = torch.cat([function(x[i : i + 1].clone()) for i in range(0, 1003, 17)])
        assert torch.equal(function(x.clone())[::17], alone)
