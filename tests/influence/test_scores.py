from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from validator.influence import InfluenceError, Scores
from validator.influence.scores import UNIT, to_fixed

IN_RANGE = st.floats(min_value=-9.2e9, max_value=9.2e9, allow_nan=False)


@given(IN_RANGE)
def test_to_fixed__any_value__is_the_nearest_unit(value: float) -> None:
    (fixed,) = to_fixed([value])
    assert abs(Fraction(value) * UNIT - fixed) <= Fraction(1, 2)
    assert abs(fixed) < 2**63


@given(IN_RANGE, IN_RANGE)
def test_to_fixed__order__is_kept(left: float, right: float) -> None:
    low, high = to_fixed(sorted((left, right)))
    assert low <= high


@given(IN_RANGE)
def test_to_fixed__negation__is_symmetric(value: float) -> None:
    assert to_fixed([-value]) == tuple(-fixed for fixed in to_fixed([value]))


def test_to_fixed__binary_tie__goes_to_even() -> None:
    # 2**-10 * 1e9 = 976562.5 exactly, 3 * 2**-10 * 1e9 = 2929687.5 exactly.
    assert to_fixed([2.0**-10, 3 * 2.0**-10]) == (976_562, 2_929_688)


@pytest.mark.parametrize(("value", "fixed"), [(9.3e9, 2**63 - 1), (-1e300, -(2**63) + 1)])
def test_to_fixed__beyond_64_bits__saturates(value: float, fixed: int) -> None:
    assert to_fixed([value]) == (fixed,)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_to_fixed__not_finite__is_refused(bad: float) -> None:
    with pytest.raises(InfluenceError, match="not finite"):
        to_fixed([bad])


def test_scores__float32__is_refused() -> None:
    with pytest.raises(InfluenceError, match="float64"):
        Scores(torch.zeros(2), torch.zeros(2))


def test_scores__per_query__are_not_quantised() -> None:
    matrix = torch.zeros(2, 3, dtype=torch.float64)
    with pytest.raises(InfluenceError, match="shape"):
        Scores(matrix, matrix).to_fixed()


def test_scores__to_fixed__gives_values_and_errors() -> None:
    scores = Scores(torch.tensor([0.5, -0.25], dtype=torch.float64), torch.tensor([0.125, 0.0], dtype=torch.float64))
    assert scores.to_fixed() == ((500_000_000, -250_000_000), (125_000_000, 0))
