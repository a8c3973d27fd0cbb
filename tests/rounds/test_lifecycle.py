from __future__ import annotations

from typing import Any

import pytest

from validator.rounds.lifecycle import Fact, Phase, fold, submissions

OPENED = Fact("RoundOpened", {"round": 1, "manifest": b"m" * 32})
CLOSED = Fact("RoundClosed", {"round": 1, "firstId": 1, "endId": 3, "pool": 9, "totalWeight": 30, "seedBlock": 7})
SEEDED = Fact(
    "SeedDrawn",
    {
        "round": 1,
        "seed": b"s" * 32,
        "beacon": b"b" * 32,
        "reportDeadline": 100,
        "commitDeadline": 200,
        "attestDeadline": 300,
    },
)


def report(operator: str, bitmap: bytes = b"\3") -> Fact:
    return Fact(
        "AvailabilityReported", {"round": 1, "attempt": 0, "operator": operator, "weight": 10, "bitmap": bitmap}
    )


def commit(operator: str) -> Fact:
    return Fact("Committed", {"round": 1, "attempt": 0, "operator": operator, "commitHash": b"c" * 32, "backup": b""})


def phase(facts: list[Fact], timestamp: int) -> Phase:
    return fold(facts)[1].phase(timestamp)


def test_phase__each_event_and_deadline__moves_the_round_on():
    facts = [OPENED]
    assert phase(facts, 0) is Phase.OPEN
    facts.append(CLOSED)
    assert phase(facts, 0) is Phase.CLOSED
    facts.append(SEEDED)
    assert phase(facts, 100) is Phase.REPORTING
    assert phase(facts, 101) is Phase.COMMITTING
    assert phase(facts, 201) is Phase.ATTESTING
    assert phase(facts, 301) is Phase.STALLED


def test_phase__all_weight_has_acted__ends_before_the_deadline():
    facts = [OPENED, CLOSED, SEEDED, *(report(o) for o in "abc")]
    assert phase(facts, 1) is Phase.COMMITTING
    assert phase([*facts, *(commit(o) for o in "abc")], 1) is Phase.ATTESTING


def test_phase__two_of_three_committed__waits_for_the_third_until_the_deadline():
    facts = [OPENED, CLOSED, SEEDED, *(report(o) for o in "abc"), commit("a"), commit("b")]
    assert phase(facts, 200) is Phase.COMMITTING
    assert phase(facts, 201) is Phase.ATTESTING


def test_fold__retried__forgets_reports_and_commits_but_keeps_the_seed():
    deadlines: dict[str, Any] = {"reportDeadline": 400, "commitDeadline": 500, "attestDeadline": 600}
    retried = Fact("RoundRetried", {"round": 1, "attempt": 2, **deadlines})
    state = fold([OPENED, CLOSED, SEEDED, report("a"), commit("a"), retried])[1]
    assert (state.attempt, state.seed, dict(state.reports), dict(state.commits)) == (2, b"s" * 32, {}, {})
    assert state.phase(399) is Phase.REPORTING


def test_included__quorum_of_reports__is_read_from_the_events():
    state = fold([OPENED, CLOSED, SEEDED, report("a"), report("b"), report("c", b"\1")])[1]
    assert state.included() == {1}


def test_fold__events_of_a_round_that_was_never_opened__is_refused():
    with pytest.raises(ValueError, match="first block"):
        fold([CLOSED])


def test_submissions__other_rounds_and_other_events__are_left_out():
    def submitted(id_: int) -> Fact:
        args = {"id": id_, "contributor": "0x1", "round": 1, "digest": b"d", "codec": 0, "size": 5, "keyEpoch": 1}
        return Fact("ContributionSubmitted", args)

    assert [s.id for s in submissions([submitted(1), submitted(2), OPENED, submitted(3)], 2, 4)] == [2, 3]
