"""What a node holds of the chain: rounds, whoever takes part, and what is still to be judged; the rest is in its
journal.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from validator.journal import Journal
from validator.journal.database import PAGE as EVENTS
from validator.journal.database import Mark, Row
from validator.rounds.lifecycle import Phase, fold, submissions
from validator.stages import chronicle
from validator.stages.chronicle import WHOLE_ROUNDS, BrokenJournal, Chronicle, to_fact

EACH = 3
"""Contributions of a round."""
OPERATOR = "0x" + "Ab" * 20


class Tale:
    """A journal that tells of rounds, one after the other."""

    def __init__(self, folder: Path) -> None:
        self.journal = Journal(folder / "journal.sqlite")
        self.view = Chronicle(self.journal)
        self.block, self.submitted, self.time = 0, 0, 0
        self.tell("ValidatorJoined", operator=OPERATOR, signer=OPERATOR, hpkeKey=b"k", stake=1)
        self.tell("StakeChanged", operator=OPERATOR, weight=1)

    def tell(self, name: str, **args: Any) -> None:
        self.block += 1
        self.journal.record([Row(self.block, 0, b"t" * 32, "any", name, args)], self.mark())

    def mark(self) -> Mark:
        return Mark(self.block, self.block.to_bytes(32, "big"), self.time)

    def submit(self, count: int = EACH) -> None:
        for _ in range(count):
            self.submitted += 1
            given = {"id": self.submitted, "contributor": OPERATOR, "codec": 0, "size": 9, "keyEpoch": 1}
            self.tell("ContributionSubmitted", digest=self.submitted.to_bytes(32, "big"), **given)

    def play(self, number: int) -> None:
        """A round from its opening to its end, and its deadlines past."""
        self.tell("RoundOpened", round=number, manifest=b"m" * 32)
        self.submit()
        end = self.submitted + 1
        self.tell("RoundClosed", round=number, firstId=end - EACH, endId=end, pool=0, totalWeight=1, seedBlock=1)
        deadlines = {"reportDeadline": 1, "commitDeadline": 2, "attestDeadline": 10 * number}
        self.tell("SeedDrawn", round=number, seed=b"s" * 32, beacon=b"b" * 32, **deadlines)
        self.tell("AvailabilityReported", round=number, operator=OPERATOR, weight=1, bitmap=b"\7")
        committed = {"commitHash": b"c" * 32, "backup": b"sealed"}
        self.tell("Committed", round=number, attempt=1, operator=OPERATOR, **committed)
        fields = {"evidence": number.to_bytes(32, "big")}
        answer = {"digest": b"d" * 32, "attestation": fields}
        self.tell("Attested", round=number, attempt=1, operator=OPERATOR, signature=b"s" * 65, **answer)
        self.tell("RoundFinalised", round=number, **answer)
        self.time = 10 * number + 1


@pytest.fixture
def tale(tmp_path: Path) -> Iterator[Tale]:
    made = Tale(tmp_path)
    yield made
    made.journal.close()


def test_rounds__event_by_event_or_at_once__are_the_same(tale: Tale) -> None:
    for number in range(1, WHOLE_ROUNDS + 5):
        tale.play(number)
        tale.view.rounds()
    tale.journal.record([], tale.mark())
    fresh = Chronicle(tale.journal)
    whole = fold(map(to_fact, tale.journal.events()))
    assert tale.view.rounds() == fresh.rounds()
    assert tale.view.members() == fresh.members() == whole.members
    newest = max(whole.by_number)
    for number in range(newest - WHOLE_ROUNDS + 1, newest + 1):
        assert fresh.rounds()[number] == whole.by_number[number]


def test_rounds__late_answer_in_a_long_history__is_let_go_of_too(tale: Tale, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chronicle, "PAGE", 2)
    for number in range(1, WHOLE_ROUNDS + 4):
        tale.play(number)
        tale.time = 5  # so that answers to the first are still taken
        tale.view.rounds()
    other = {"digest": b"o" * 32, "attestation": {"evidence": b"e" * 32}, "signature": b"s" * 65}
    tale.tell("Attested", round=1, attempt=1, operator="0x" + "cd" * 20, **other)
    tale.time = 10_000
    tale.journal.record([], Mark(tale.block + 1, b"h" * 32, tale.time))
    fresh = Chronicle(tale.journal).rounds()
    assert fresh == tale.view.rounds()
    assert fresh[1].attestations["0x" + "cd" * 20] == (b"o" * 32, b"", {})


def test_rounds__long_past__keep_who_attested_what_and_no_bitmap_signature_or_backup(tale: Tale) -> None:
    for number in range(1, WHOLE_ROUNDS + 3):
        tale.play(number)
    past, whole = tale.view.rounds()[1], fold(map(to_fact, tale.journal.events())).by_number[1]
    assert (past.reports, past.backups) == ({}, {})
    assert past.attestations == {OPERATOR.lower(): (b"d" * 32, b"", {})}
    assert (past.phase(99), past.final, past.members) == (Phase.FINALISED, whole.final, whole.members)
    assert tale.view.rounds()[3] == fold(map(to_fact, tale.journal.events())).by_number[3]


def test_rounds__deadline_not_past__keep_every_answer(tale: Tale) -> None:
    for number in range(1, WHOLE_ROUNDS + 3):
        tale.play(number)
        tale.time = 5  # the chain's clock has hardly moved
    assert tale.view.rounds()[1].reports


def test_submissions__of_final_open_and_no_round__are_those_of_the_events(
    tale: Tale, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chronicle, "PAGE", 2)
    for number in range(1, 4):
        tale.play(number)
    tale.tell("RoundOpened", round=4, manifest=b"m" * 32)
    tale.submit(5)
    facts = [to_fact(row) for row in tale.journal.events()]
    assert tale.view.first_waiting == 3 * EACH + 1
    for first, end in ((1, 4), (2, 9), (8, 12), (10, 12), (10, 10), (12, 99)):
        assert tale.view.submissions(first, end) == submissions(facts, first, end)
    assert tale.view.submissions(10) == submissions(facts, 10, 99)
    assert [len(page) for page in tale.view.pages(1)] == [2] * 7
    tale.submit(1)
    assert [item.id for item in tale.view.submissions(14)] == [14, 15]


def test_submissions__rounds_that_are_final__are_no_longer_in_memory(tale: Tale) -> None:
    for number in range(1, 6):
        tale.play(number)
        assert tale.view.submissions(tale.submitted + 1) == []
        assert tale.view._waiting == []


def test_submissions__events_missing_in_the_journal__are_a_fault_and_not_another_contribution(tale: Tale) -> None:
    tale.submitted = 7
    tale.tell("RoundOpened", round=1, manifest=b"m" * 32)
    tale.submit(2)
    for _ in range(2):  # nor is it forgotten that it was one
        with pytest.raises(BrokenJournal, match="lacks contributions before 8"):
            tale.view.submissions(1)


def test_submissions__gap_that_comes_later__is_noticed_too(tale: Tale) -> None:
    tale.play(1)
    assert tale.view.rounds()[1].final
    tale.submitted += 1
    tale.submit(1)
    with pytest.raises(BrokenJournal, match="lacks contributions before 5"):
        tale.view.rounds()


def test_since__block__gives_what_is_above_it_and_was_read(tale: Tale) -> None:
    for number in range(1, 4):
        tale.play(number)
    found = list(tale.view.since(-1, "Attested", "Committed"))
    assert [(fact.name, fact.args["round"]) for fact in found[:2]] == [("Committed", 1), ("Attested", 1)]
    assert len(found) == 6
    assert list(tale.view.since(tale.view.read_to, "Attested", "Committed")) == []


def test_each_event__more_than_a_page_in_one_block__comes_whole_and_in_order(tmp_path: Path) -> None:
    journal, count = Journal(tmp_path / "journal.sqlite"), 2 * EVENTS + 3
    rows = [Row(5 + n // 900, n, b"t" * 32, "any", ("One", "Two", "Other")[n % 3], {"n": n}) for n in range(count)]
    journal.record(rows, Mark(99, b"h" * 32, 1))
    assert [row.args["n"] for row in journal.each_event("One", "Two")] == [n for n in range(count) if n % 3 < 2]
    assert [row.args["n"] for row in journal.each_event("One", after_block=5)] == list(range(900, count, 3))
    assert [row.args["n"] for row in journal.events_by_place("One", 3, 2)] == [9, 12]
    journal.close()
