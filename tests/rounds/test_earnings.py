from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from validator.manifest import Rewards, Scoring
from validator.rounds.earnings import add_earnings, divide_pool, payable_score

SCORING = Scoring(objective="expected_error", kappa_milli=1000, floor=5, contribution_cap=1_000, memory_records=0)
REWARDS = Rewards(full_pool_score=100, contributor_cap_bps=5_000)


@pytest.mark.parametrize(
    ("raw", "stderr", "payable"),
    [(-50, 0, 0), (10, 10, 0), (14, 10, 0), (15, 10, 5), (5_000, 0, 1_000), (0, 0, 0)],
)
def test_payable_score__around_noise_floor_and_cap__is_as_documented(raw: int, stderr: int, payable: int):
    assert payable_score(raw, stderr, SCORING) == payable


def test_payable_score__doubt_is_not_whole__is_rounded_up():
    scoring = Scoring(objective="expected_error", kappa_milli=500, floor=0, contribution_cap=100, memory_records=0)
    assert payable_score(10, 3, scoring) == 8


def test_divide_pool__little_value__leaves_money_in_the_pool():
    assert divide_pool(1_000, [("a", 10)], REWARDS) == [100]


def test_divide_pool__one_contributor_above_the_cap__is_scaled_down_over_all_contributions():
    assert divide_pool(1_000, [("a", 300), ("b", 100), ("a", 100)], REWARDS) == [375, 200, 125]


@given(st.integers(0, 10**30), st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 10**9)), max_size=30))
def test_divide_pool__anything__never_pays_more_than_the_pool(pool: int, payable: list[tuple[str, int]]):
    paid = divide_pool(pool, payable, REWARDS)
    assert sum(paid) <= pool
    assert all(amount >= 0 for amount in paid)
    assert all(amount == 0 for amount, (_, score) in zip(paid, payable, strict=True) if score == 0)


def test_add_earnings__new_and_old_accounts__come_out_in_order_of_address():
    assert list(add_earnings({"b": 5}, [("c", 1), ("a", 2), ("b", 3), ("d", 0)]).items()) == [
        ("a", 2),
        ("b", 8),
        ("c", 1),
    ]


@given(st.integers(-(2**63), 2**63), st.integers(0, 2**40), st.integers(0, 10_000))
def test_payable_score__more_doubt__never_pays_more(raw: int, stderr: int, kappa: int):
    scoring = Scoring(objective="expected_error", kappa_milli=kappa, floor=0, contribution_cap=2**40, memory_records=0)
    bolder = scoring.model_copy(update={"kappa_milli": kappa + 1})
    assert payable_score(raw, stderr + 1, scoring) <= payable_score(raw, stderr, scoring)
    assert payable_score(raw, stderr, bolder) <= payable_score(raw, stderr, scoring)
