from __future__ import annotations

from typing import Any

import pytest

from validator.rounds.lifecycle import Fact, Phase, fold, submissions

JOINED = [
    fact
    for operator in "abc"
    for fact in (
        Fact("ValidatorJoined", {"operator": operator, "signer": operator * 2, "hpkeKey": b"", "stake": 10}),
        Fact("StakeChanged", {"operator": operator, "stake": 10, "weight": 10, "fromRound": 1}),
    )
]
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


def attest(operator: str, digest: bytes = b"d" * 32) -> Fact:
    fields = {"digest": digest}
    args = {"round": 1, "attempt": 1, "operator": operator, "digest": digest, "signature": b"", "attestation": fields}
    return Fact("Attested", args)


def phase(facts: list[Fact], timestamp: int) -> Phase:
    return fold([*JOINED, *facts]).by_number[1].phase(timestamp)


def test_phase__each_event_and_deadline__moves_the_round_on():
    facts = [OPENED]
    assert phase(facts, 0) is Phase.OPEN
    facts.append(CLOSED)
    assert phase(facts, 0) is Phase.CLOSED
    facts.append(SEEDED)
    assert phase(facts, 100) is Phase.REPORTING
    assert phase(facts, 101) is Phase.COMMITTING
    assert phase(facts, 201) is Phase.STALLED


def test_phase__all_weight_has_acted__ends_before_the_deadline():
    facts = [OPENED, CLOSED, SEEDED, *(report(o) for o in "abc")]
    assert phase(facts, 1) is Phase.COMMITTING
    assert phase([*facts, *(commit(o) for o in "abc")], 1) is Phase.ATTESTING


def test_phase__two_of_three_committed__waits_for_the_third_until_the_deadline():
    facts = [OPENED, CLOSED, SEEDED, *(report(o) for o in "abc"), commit("a"), commit("b")]
    assert phase(facts, 200) is Phase.COMMITTING
    assert phase(facts, 201) is Phase.STALLED


def test_phase__all_committed_and_nobody_revealed__attests_until_the_deadline():
    facts = [OPENED, CLOSED, SEEDED, *(commit(o) for o in "abc")]
    assert phase(facts, 300) is Phase.ATTESTING
    assert phase(facts, 301) is Phase.STALLED


def test_phase__commits_without_reports__count_like_any_other():
    assert phase([OPENED, CLOSED, SEEDED, *(commit(o) for o in "abc")], 101) is Phase.ATTESTING


def test_phase__all_revealed_and_no_two_thirds_agree__is_stalled_at_once():
    facts = [OPENED, CLOSED, SEEDED, *(commit(o) for o in "abc")]
    assert phase([*facts, attest("a"), attest("b", b"e" * 32)], 250) is Phase.ATTESTING
    assert phase([*facts, attest("a"), attest("b", b"e" * 32), attest("c", b"f" * 32)], 250) is Phase.STALLED


def test_phase__quorum_agrees__waits_for_finalisation_however_late():
    facts = [OPENED, CLOSED, SEEDED, *(commit(o) for o in "abc"), *(attest(o) for o in "abc")]
    assert phase(facts, 999) is Phase.ATTESTING
    assert fold([*JOINED, *facts]).by_number[1].agreed() == {"digest": b"d" * 32}


def test_fold__operator_leaves_and_rejoins_with_another_key__each_round_keeps_its_own_snapshot():
    again = Fact("ValidatorJoined", {"operator": "a", "signer": "new", "hpkeKey": b"", "stake": 10})
    state = fold([*JOINED, OPENED, CLOSED, again]).by_number[1]
    assert state.members["a"] == ("aa", 10)


def test_fold__in_two_parts__is_the_same_as_in_one():
    facts = [*JOINED, OPENED, CLOSED, SEEDED, report("a"), commit("a"), attest("a")]
    assert fold(facts[8:], fold(facts[:8])) == fold(facts)


def test_fold__retried__forgets_reports_and_commits_but_keeps_the_seed():
    deadlines: dict[str, Any] = {"reportDeadline": 400, "commitDeadline": 500, "attestDeadline": 600}
    retried = Fact("RoundRetried", {"round": 1, "attempt": 2, **deadlines})
    state = fold([*JOINED, OPENED, CLOSED, SEEDED, report("a"), commit("a"), retried]).by_number[1]
    assert (state.attempt, state.seed, dict(state.reports), dict(state.commits)) == (2, b"s" * 32, {}, {})
    assert state.phase(399) is Phase.REPORTING


def test_included__quorum_of_reports__is_read_from_the_events():
    state = fold([*JOINED, OPENED, CLOSED, SEEDED, report("a"), report("b"), report("c", b"\1")]).by_number[1]
    assert state.included() == {1}


def test_fold__events_of_a_round_that_was_never_opened__is_refused():
    with pytest.raises(ValueError, match="first block"):
        fold([CLOSED])


def test_submissions__other_rounds_and_other_events__are_left_out():
    def submitted(id_: int) -> Fact:
        args = {"id": id_, "contributor": "0x1", "round": 1, "digest": b"d", "codec": 0, "size": 5, "keyEpoch": 1}
        return Fact("ContributionSubmitted", args)

    assert [s.id for s in submissions([submitted(1), submitted(2), OPENED, submitted(3)], 2, 4)] == [2, 3]
