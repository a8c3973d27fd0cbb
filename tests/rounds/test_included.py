from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from validator.rounds.included import decode_bitmap, encode_bitmap, included, quorum


@given(st.integers(1, 10**6), st.integers(1, 60), st.data())
def test_bitmap__any_set_of_ids__survives_the_round_trip(first: int, count: int, data: st.DataObject):
    ids = data.draw(st.sets(st.integers(first, first + count - 1)))
    bitmap = encode_bitmap(first, first + count, ids)
    assert len(bitmap) == (count + 7) // 8
    assert decode_bitmap(first, first + count, bitmap) == ids


def test_encode_bitmap__id_of_another_round__is_refused():
    with pytest.raises(ValueError, match="outside"):
        encode_bitmap(10, 20, [20])


@pytest.mark.parametrize(
    ("weight", "total", "reached"), [(2, 3, False), (3, 3, True), (67, 100, True), (66, 99, False)]
)
def test_quorum__around_two_thirds__needs_more(weight: int, total: int, reached: bool):
    assert quorum(weight, total) is reached


def test_included__one_validator_starved__the_contribution_still_counts_with_a_quorum_of_the_others():
    all_four, three = encode_bitmap(1, 3, [1, 2]), encode_bitmap(1, 3, [1])
    assert included(1, 3, [(10, all_four), (10, three), (10, three), (10, three)], 40) == {1}


def test_included__silent_validator__counts_against():
    assert included(1, 2, [(10, b"\1"), (10, b"\1")], 30) == frozenset()
