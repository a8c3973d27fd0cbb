from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from validator.web.words import points, reason_words, short, size, span, units, utc


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
