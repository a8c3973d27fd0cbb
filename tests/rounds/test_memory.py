"""Near-copies: nobody is paid twice for one idea, neither in a round nor in a later one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.rounds.tiny import FILES, KEY, MANIFEST, TERMS, digest, judge, opened, records, tiny_problem
from validator.influence import Problem, Records
from validator.manifest import Manifest
from validator.rounds.carry import carry_after
from validator.rounds.evidence import EvidenceError
from validator.rounds.memory import latest, pack, unpack
from validator.rounds.score import Judged, score_round
from validator.rounds.types import Carry, Remembered, Status


@pytest.fixture(scope="module")
def problem() -> Problem:
    return tiny_problem()


def nearly(original: Records) -> Records:
    """The same to the eye, another record to any hash."""
    return Records(torch.nextafter(original.inputs, torch.tensor(torch.inf)), original.targets)


def second_round(problem: Problem, first: Judged, item: Records, memory: Records | None) -> Judged:
    carry = carry_after(Carry(), digest(first.evidence.to_bytes()), first.evidence, first.accepted)
    items = opened(item, Status.UNAVAILABLE, Status.UNAVAILABLE)
    return score_round(replace(TERMS, round=2), MANIFEST, carry, problem, KEY, items, FILES, memory=memory)


def test_score_round__near_copy_in_one_round__adds_a_fraction_of_the_original(problem: Problem) -> None:
    good = records("good", 20)
    lines = judge(problem, opened(good, nearly(good), Status.UNAVAILABLE)).evidence.contributions
    assert lines[1].repeats == 0
    assert lines[1].raw < lines[0].raw / 4


def test_score_round__near_copy_of_what_an_earlier_round_paid__adds_a_fraction(problem: Problem) -> None:
    good = records("good", 20)
    first = judge(problem, opened(good, Status.UNAVAILABLE, Status.UNAVAILABLE))
    memory = unpack(first.memory, first.evidence.memory_count, problem.anchor)
    again, forgotten = (second_round(problem, first, nearly(good), kept).evidence for kept in (memory, None))
    assert forgotten.contributions[0].raw > first.evidence.contributions[0].raw / 2
    assert again.contributions[0].raw < forgotten.contributions[0].raw / 4


def test_score_round__paid_records__are_named_with_size_and_number(problem: Problem) -> None:
    judged = judge(problem, opened(records("good", 20), records("bad", 20, wrong=True), records("more", 3)))
    evidence = judged.evidence
    paid = sum(line.records for line in evidence.contributions if line.status == Status.PAID)
    assert evidence.memory_count == paid > 0
    assert (evidence.memory, evidence.memory_size) == (digest(judged.memory).hex(), len(judged.memory))
    carry = carry_after(Carry(), b"e" * 32, evidence, judged.accepted)
    assert carry.memory == (Remembered(TERMS.manifest, digest(judged.memory), len(judged.memory), paid, 1),)


def test_score_round__nothing_paid__names_no_file(problem: Problem) -> None:
    judged = judge(problem, opened(records("bad", 20, wrong=True), Status.MALFORMED, Status.UNAVAILABLE))
    assert judged.memory == b""
    evidence = judged.evidence
    assert (evidence.memory, evidence.memory_count, evidence.memory_size, evidence.memory_epoch) == ("00" * 32, 0, 0, 0)


def test_score_round__paid_records_sealed_to_a_newer_key__are_not_kept_under_the_older(problem: Problem) -> None:
    items = opened(records("good", 20), records("bad", 20, wrong=True), Status.UNAVAILABLE)
    for index, epoch in ((0, 3), (1, 9)):
        items[index] = replace(items[index], submission=replace(items[index].submission, key_epoch=epoch))
    assert judge(problem, items).evidence.memory_epoch == 3


def test_score_round__memory_of_few_records__keeps_the_latest(problem: Problem) -> None:
    scoring = MANIFEST.scoring.model_copy(update={"memory_records": 5})
    manifest: Manifest = MANIFEST.model_copy(update={"scoring": scoring})
    good, items = records("good", 20), [records("good", 20), Status.UNAVAILABLE, Status.UNAVAILABLE]
    judged = score_round(TERMS, manifest, Carry(), problem, KEY, opened(*items), FILES)
    kept = unpack(judged.memory, 5, problem.anchor)
    assert torch.equal(kept.inputs, good.inputs[-5:])
    assert judged.evidence.accepted_count == 20


def test_unpack__round_trip__same_records(problem: Problem) -> None:
    kept = records("good", 7)
    found = unpack(pack(kept), 7, problem.anchor)
    assert torch.equal(found.inputs, kept.inputs)
    assert torch.equal(found.targets, kept.targets)


@pytest.mark.parametrize("count", [6, 8])
def test_unpack__another_number_than_the_bundle_says__is_refused(problem: Problem, count: int) -> None:
    with pytest.raises(EvidenceError, match="cannot be used"):
        unpack(pack(records("good", 7)), count, problem.anchor)


def test_unpack__rubbish__is_refused(problem: Problem) -> None:
    with pytest.raises(EvidenceError, match="cannot be used"):
        unpack(b"rubbish", 1, problem.anchor)


def test_latest__several_rounds__the_last_records_oldest_first() -> None:
    first, second = records("first", 4), records("second", 3)
    kept = latest([first, second], 5)
    assert kept is not None
    assert torch.equal(kept.inputs, torch.cat([first.inputs[-2:], second.inputs]))


def test_latest__nothing_to_remember__is_none() -> None:
    assert latest([], 5) is None
    assert latest([records("first", 4)], 0) is None
