"""How `validator score` puts what it found into words."""

from __future__ import annotations

import msgspec
import pytest

from tests.web.test_picture import line
from validator.actions.standing import Standing
from validator.cli.score import score_words, scored, where
from validator.rounds.lifecycle import Phase

WHO = "0x" + "ab" * 20


def judged(**changes: object) -> Standing:
    found = line(9, raw=0, records=0)
    duplicate = msgspec.structs.replace(found, status=3, repeats=30)
    return Standing(9, WHO, 2, Phase.FINALISED, line=duplicate, scored=4, why=["Because."], **changes)  # type: ignore[arg-type]


def test_words__duplicate_of_own__says_in_which_contributions() -> None:
    told = list(score_words(judged(), {3: 20, 7: 10}))

    assert told[0] == "contribution 9, round 2: every record repeats one that was known before"
    assert (
        told[-1] == "  Of its records you had sent before, from this home: 20 in contribution 3, 10 in contribution 7."
    )
    assert not any("rank" in one for one in told)


def test_words__duplicate_of_others__says_no_more_than_can_be_known() -> None:
    assert "somebody else was first" in list(score_words(judged(), {}))[-1]
    assert list(score_words(judged(), None))[-1] == "  Because."


@pytest.mark.parametrize(
    ("number", "phase", "left", "words"),
    [
        (None, Phase.NONE, None, "waits for a round to open"),
        (3, Phase.OPEN, None, "is in round 3, which is open"),
        (3, Phase.CLOSED, None, "is in round 3, which is closed, and its seed is drawn next"),
        (3, Phase.REPORTING, 30, "is in round 3, which is reporting, for at most 30 s more"),
        (3, Phase.STALLED, None, "is in round 3, which is stalled"),
    ],
)
def test_where__not_final__round_phase_and_time_left(
    number: int | None, phase: Phase, left: int | None, words: str
) -> None:
    standing = Standing(1, WHO, number, phase, left)

    assert where(standing) == words
    assert scored(standing)["seconds_left"] == left
