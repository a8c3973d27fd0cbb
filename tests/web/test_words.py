from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from validator.web.words import MOST_PLACES, axis, points, reason_words, short, size, span, units, utc


@pytest.mark.parametrize(
    ("amount", "decimals", "words"),
    [
        (0, 18, "0"),
        (10**18, 18, "1"),
        (1_234_567 * 10**18 + 5 * 10**17, 18, "1,234,567.5"),
        (10**13, 18, "0"),
        (-(10**18), 18, "-1"),
        (42, 0, "42"),
        (2**256 - 1, 0, f"{2**256 - 1:,}"),
        (None, 18, "-"),
    ],
)
def test_units__amounts__rounded_towards_zero_with_separators(amount: int | None, decimals: int, words: str) -> None:
    assert units(amount, decimals) == words


@pytest.mark.parametrize(
    ("score", "words"),
    [(0, "0.00"), (22_710_704, "22.71"), (-58_820_000, "-58.82"), (4_999, "0.00"), (-4_999, "0.00"), (5_000, "0.01")],
)
def test_points__scores__thousandths_without_negative_zero(score: int, words: str) -> None:
    assert points(score) == words


@given(st.integers(min_value=-(2**127), max_value=2**127 - 1))
def test_points__any_int128__within_half_a_hundredth(score: int) -> None:
    shown = points(score).replace(",", "").replace(".", "")

    assert abs(int(shown) * 10_000 - score) <= 5_000


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-5, "no time"), (0, "no time"), (59, "59 s"), (60, "1 min"), (3661, "1 h 1 min"), (86_405, "1 d")],
)
def test_span__lengths__two_largest_units(seconds: int, words: str) -> None:
    assert span(seconds) == words


def test_utc__beyond_the_calendar__still_words() -> None:
    assert utc(0) == "1970-01-01 00:00:00 UTC"
    assert utc(2**64 - 1) == f"{2**64 - 1} s after 1970"


def test_short__long_and_short_text__keeps_both_ends() -> None:
    assert short("0x" + "ab" * 20) == "0xababab…ababab"
    assert short("0xabcd") == "0xabcd"


def test_size__bytes__in_readable_units() -> None:
    assert [size(n) for n in (9_999, 64 * 1024, 64 * 2**20)] == ["9,999 bytes", "64 KiB", "64 MiB"]


def test_reason_words__unknown_code__shown_as_it_is() -> None:
    assert reason_words("finite") == "a value is not a number, or infinite"
    assert reason_words("something_new") == "something_new"


@pytest.mark.parametrize(
    ("values", "digits", "least", "labels"),
    [
        ([0, 5_000_000, 10_000_000], 6, 2, ["0.00", "5.00", "10.00"]),
        ([-20_000, 0, 20_000], 6, 2, ["-0.02", "0.00", "0.02"]),
        ([0, 500, 1000], 6, 2, ["0.0000", "0.0005", "0.0010"]),
        ([-1, 0, 1, 2], 6, 2, ["-0.000001", "0.000000", "0.000001", "0.000002"]),
        ([0], 6, 2, ["0.00"]),
        ([], 6, 2, []),
        ([0, 5 * 10**17, 10**18], 18, 0, ["0.0", "0.5", "1.0"]),
        ([0, 10**21, 2 * 10**21], 18, 0, ["0", "1,000", "2,000"]),
        ([0, 5, 10], 18, 0, ["0", "5e-18", "1e-17"]),
        ([-15, 0], 18, 0, ["-1.5e-17", "0"]),
        ([0, 7, 14], 0, 0, ["0", "7", "14"]),
        ([0, 20, 40], 1, 0, ["0", "2", "4"]),
    ],
)
def test_axis__any_size__labels_are_exact_and_differ(
    values: list[int], digits: int, least: int, labels: list[str]
) -> None:
    assert axis(values, digits, least) == labels


@given(st.lists(st.integers(-(2**256), 2**256), unique=True, max_size=8), st.integers(0, 77), st.integers(0, 2))
def test_axis__any_values__are_read_back_exactly(values: list[int], digits: int, least: int) -> None:
    labels = axis(values, digits, least)

    assert [Fraction(label.replace(",", "")) * 10**digits for label in labels] == values
    assert all(len(label.partition(".")[2]) <= MOST_PLACES or "e" in label for label in labels)
