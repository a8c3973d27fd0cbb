from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from validator.rounds.evidence import Line
from validator.rounds.types import Status
from validator.web.picture import HEIGHT, LEFT, MOST, RIGHT, TOP, WIDTH, picture


def line(id_: int, raw: int = 5, stderr: int = 1, paid: int = 0, records: int = 10) -> Line:
    return Line(
        id=id_,
        contributor="0x" + "11" * 20,
        digest="22" * 32,
        codec=0,
        size=100,
        key_epoch=1,
        included=True,
        status=Status.PAID if paid else Status.BELOW_NOISE,
        reason="",
        records=records,
        repeats=0,
        raw=raw,
        stderr=stderr,
        payable=paid,
        paid=paid,
    )


def test_picture__nothing_scored__none() -> None:
    assert picture([]) is None
    assert picture([line(1, records=0)]) is None


def test_picture__mixed_round__highest_score_first_and_unscored_left_out() -> None:
    drawn = picture([line(1, raw=-7), line(2, raw=9, paid=100), line(3, records=0), line(4, raw=3)])

    assert drawn is not None
    assert [mark.id for mark in drawn.marks] == [2, 4, 1]
    assert [mark.kind for mark in drawn.marks] == ["paid", "unpaid", "unpaid"]
    assert drawn.marks[0].y < drawn.marks[1].y < drawn.zero < drawn.marks[2].y
    assert drawn.marks[0].bar_height > 0 == drawn.marks[1].bar_height


def test_picture__ten_thousand_contributions__a_bounded_sample_with_both_ends() -> None:
    drawn = picture([line(id_, raw=id_) for id_ in range(1, 10_001)])

    assert drawn is not None
    assert drawn.scored == 10_000
    assert len(drawn.marks) == MOST
    assert (drawn.marks[0].id, drawn.marks[-1].id) == (10_000, 1)


scores = st.tuples(
    st.integers(-(2**100), 2**100), st.integers(0, 2**100), st.one_of(st.just(0), st.integers(1, 2**100))
)


@given(st.lists(scores, min_size=1, max_size=30))
def test_picture__any_scores__everything_inside_the_frame(values: list[tuple[int, int, int]]) -> None:
    drawn = picture([line(id_, raw, stderr, paid) for id_, (raw, stderr, paid) in enumerate(values, start=1)])

    assert drawn is not None
    for mark in drawn.marks:
        assert LEFT <= mark.x <= WIDTH - RIGHT
        assert TOP <= mark.high <= mark.y <= mark.low <= drawn.base
        assert 0 <= mark.bar_height <= drawn.base - TOP
    assert all(0 <= tick.y <= HEIGHT for tick in [*drawn.scores, *drawn.payouts])
    assert 1 <= len(drawn.scores) <= 10
