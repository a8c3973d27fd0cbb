from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from validator.influence import InfluenceError, Scores
from validator.influence.scores import UNIT, payable, to_fixed

IN_RANGE = st.floats(min_value=-9.2e9, max_value=9.2e9, allow_nan=False)
INT64 = st.integers(min_value=-(2**63) + 1, max_value=2**63 - 1)


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


def test_to_fixed__largest__is_accepted_and_one_more_is_refused() -> None:
    most = math.nextafter((2**63) / 1e9, 0)
    assert to_fixed([most])[0] <= 2**63 - 1
    with pytest.raises(InfluenceError, match="64-bit"):
        to_fixed([9.3e9])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_to_fixed__not_finite__is_refused(bad: float) -> None:
    with pytest.raises(InfluenceError, match="not finite"):
        to_fixed([bad])


@given(INT64, st.integers(0, 2**63 - 1), st.integers(0, 100_000))
def test_payable__any_score__never_above_the_bound_and_at_most_a_unit_below(raw: int, stderr: int, kappa: int) -> None:
    bound = Fraction(raw) - Fraction(kappa * stderr, 1000)
    paid = payable(raw, stderr, kappa)
    assert paid >= 0
    assert paid == 0 if bound <= 0 else bound - 1 < paid <= bound


@given(INT64, st.integers(0, 2**40), st.integers(0, 10_000))
def test_payable__more_doubt__never_pays_more(raw: int, stderr: int, kappa: int) -> None:
    assert payable(raw, stderr + 1, kappa) <= payable(raw, stderr, kappa)
    assert payable(raw, stderr, kappa + 1) <= payable(raw, stderr, kappa)


def test_payable__negative_stderr__is_refused() -> None:
    with pytest.raises(InfluenceError, match="negative"):
        payable(1, -1, 1000)


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
