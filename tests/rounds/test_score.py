from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.rounds.tiny import FILES, KEY, MANIFEST, TERMS, digest, judge, opened, records, tiny_problem
from validator.influence import Problem, Records
from validator.rounds.carry import carry_after
from validator.rounds.evidence import EvidenceError, outcome, parse_evidence, sealed
from validator.rounds.hashes import Hashes
from validator.rounds.redundancy import record_hash
from validator.rounds.score import (
    ProbesMismatch,
    ScoringFault,
    VersionMismatch,
    check_versions,
    own_versions,
    score_round,
    version_gap,
)
from validator.rounds.types import Carry, Status


@pytest.fixture(scope="module")
def problem() -> Problem:
    return tiny_problem()


def test_score_round__good_bad_and_refused__get_their_status_and_only_the_good_is_paid(problem: Problem):
    items = opened(records("good", 20), records("bad", 20, wrong=True), Status.MALFORMED)
    evidence = judge(problem, items).evidence
    assert [Status(line.status) for line in evidence.contributions] == [
        Status.PAID,
        Status.BELOW_NOISE,
        Status.MALFORMED,
    ]
    assert [line.paid > 0 for line in evidence.contributions] == [True, False, False]
    assert evidence.round_total == sum(line.paid for line in evidence.contributions) <= TERMS.pool
    assert evidence.earnings == [("0x" + "c" * 40, evidence.round_total)]


def test_score_round__again__gives_the_same_bytes_and_so_do_its_published_probes(problem: Problem):
    items = opened(records("good", 20), records("bad", 20, wrong=True), Status.REPLAYED)
    first = judge(problem, items)
    assert judge(problem, items).evidence.to_bytes() == first.evidence.to_bytes()
    assert judge(problem, items, probes=first.probes).evidence.to_bytes() == first.evidence.to_bytes()


def test_score_round__repeats_of_anchor_earlier_round_and_earlier_contribution__are_dropped(problem: Problem):
    known = records("known", 5)
    carry = Carry(known=Hashes.of(record_hash(KEY, known.inputs[i], known.targets[i]) for i in range(5)))
    fresh = records("good", 20)
    mixed = Records(torch.cat([fresh.inputs, known.inputs]), torch.cat([fresh.targets, known.targets]))
    evidence = judge(problem, opened(problem.anchor, mixed, fresh), carry).evidence
    assert [(line.records, line.repeats) for line in evidence.contributions] == [(0, 8), (20, 5), (0, 20)]
    assert [Status(line.status) for line in evidence.contributions][0::2] == [Status.DUPLICATE, Status.DUPLICATE]


def test_score_round__only_paid_records__are_carried_forward(problem: Problem):
    good, bad = records("good", 20), records("bad", 20, wrong=True)
    judged = judge(problem, opened(good, bad, Status.UNAVAILABLE))
    evidence = judged.evidence
    assert evidence.accepted_count == 20
    assert evidence.accepted == digest(judged.accepted).hex()
    carry = carry_after(Carry(), digest(evidence.to_bytes()), evidence, judged.accepted)
    items, second = opened(good, bad, Status.UNAVAILABLE), replace(TERMS, round=2)
    again = score_round(second, MANIFEST, carry, problem, KEY, items, FILES).evidence
    assert [Status(line.status) for line in again.contributions][:2] == [Status.DUPLICATE, Status.BELOW_NOISE]
    assert again.earned_total == evidence.earned_total


def test_score_round__unavailable_and_oversized__are_in_the_scores_but_not_in_the_inputs(problem: Problem):
    evidence = judge(problem, opened(Status.UNAVAILABLE, Status.OVERSIZED, records("good", 9))).evidence
    assert [line.included for line in evidence.contributions] == [False, False, True]
    assert len(evidence.inputs_tree().nodes) == 1
    assert len(evidence.scores_tree().nodes) == 5


def test_score_round__nothing_to_score__is_a_round_all_the_same(problem: Problem):
    evidence = judge(problem, opened(Status.UNAVAILABLE, Status.MALFORMED, Status.UNDECRYPTABLE)).evidence
    assert (evidence.round_total, evidence.earned_total, evidence.earnings) == (0, 0, [])


def test_score_round__ids_out_of_order__is_refused(problem: Problem):
    items = opened(Status.UNAVAILABLE, Status.UNAVAILABLE, Status.UNAVAILABLE)
    with pytest.raises(ValueError, match="in order"):
        judge(problem, [items[1], items[0], items[2]])


def test_score_round__estimator_refuses_its_parameters__is_said_in_words(problem: Problem):
    broken = MANIFEST.model_copy(update={"estimator": MANIFEST.estimator.model_copy(update={"params": {"epochs": -1}})})
    items = opened(records("good", 9), Status.UNAVAILABLE, Status.UNAVAILABLE)
    with pytest.raises(ScoringFault, match="cannot be scored under its manifest"):
        score_round(TERMS, broken, Carry(), problem, KEY, items, FILES)


@pytest.mark.parametrize(("step", "hint"), [(1, "upgrade this node"), (-1, "this node is newer")])
def test_check_versions__other_arithmetic__names_what_to_do(step: int, hint: str):
    own = own_versions()
    with pytest.raises(VersionMismatch, match=hint):
        check_versions(own.model_copy(update={"exact": own.exact + step}))


def test_version_gap__several_differ__names_all_of_them_and_what_follows():
    own = own_versions()
    wanted = own.model_copy(update={"influence": own.influence + 1, "rounds": own.rounds - 1})
    gap = version_gap(wanted)
    assert f"influence version {own.influence + 1} (this node computes version {own.influence})" in gap
    assert f"rounds version {own.rounds - 1} (" in gap
    assert "upgrade this node" in gap
    assert "nothing is scored or attested" in gap
    assert version_gap(own) == ""


def test_evidence__read_back__is_the_same_and_its_roots_follow(problem: Problem):
    evidence = judge(problem, opened(records("good", 20), Status.MALFORMED, Status.UNAVAILABLE)).evidence
    again = parse_evidence(evidence.to_bytes())
    assert again == evidence
    assert outcome(again).scores_root.hex() == again.scores_root
    assert sealed(again) == again


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.replace(b'{"accepted"', b'{ "accepted"'), "canonical"),
        (lambda text: text.replace(b"poc-evidence/1", b"poc-evidence/2"), "format"),
        (lambda text: text[:-1], "refused"),
        (lambda text: text.replace(b'"round":1', b'"round":-1'), "refused"),
        (lambda text: text.replace(b'"pool":1000', b'"pool":1000.0'), "refused"),
        (lambda text: text.replace(b'"pool":1000', b'"pool":1e3'), "refused"),
        (lambda text: text.replace(b'"paid":0', b'"paid":false'), "refused"),
        (lambda text: text.replace(b'"paid":0', b'"paid":0.0'), "refused"),
        (lambda text: text.replace(b'"paid":0', b'"paid":-0'), "canonical"),
        (lambda text: text.replace(b'"included":true', b'"included":1'), "refused"),
        (lambda text: text.replace(b'"included":false', b'"included":0.0'), "refused"),
        (lambda text: text.replace(b'"status":6', b'"status":9'), "unknown status"),
        (lambda text: text.replace(b'"id":2', b'"id":5'), "consecutive"),
        (lambda text: b"[" * 100_000, "refused"),
        (lambda text: b"", "refused"),
    ],
)
def test_parse_evidence__tampered__is_refused_in_one_line(problem: Problem, change, words: str):
    items = opened(records("good", 20), Status.MALFORMED, Status.UNAVAILABLE)
    text = judge(problem, items).evidence.to_bytes()
    with pytest.raises(EvidenceError, match=words):
        parse_evidence(change(text))


def test_carry_after__bundle_of_another_history__is_refused(problem: Problem):
    evidence = judge(problem, opened(*[Status.UNAVAILABLE] * 3)).evidence
    with pytest.raises(EvidenceError, match="follows on"):
        carry_after(Carry(evidence=b"x" * 32), b"y" * 32, evidence, b"")


def test_record_hash__minus_zero_other_key_other_target__are_told_apart_only_where_they_should_be():
    plain, minus = torch.tensor([0.0, 1.0]), torch.tensor([-0.0, 1.0])
    one, two = torch.tensor(1), torch.tensor(2)
    assert record_hash(KEY, plain, one) == record_hash(KEY, minus, one)
    assert record_hash(KEY, plain, one) != record_hash(KEY, plain, two)
    assert record_hash(KEY, plain, one) != record_hash(b"other" * 6, plain, one)
    assert record_hash(KEY, plain, one) != record_hash(KEY, plain.reshape(2, 1), one)


def test_carry_after__file_of_accepted_hashes_of_another_length__is_refused(problem: Problem):
    judged = judge(problem, opened(records("good", 20), Status.UNAVAILABLE, Status.UNAVAILABLE))
    with pytest.raises(EvidenceError, match="20 accepted"):
        carry_after(Carry(), b"y" * 32, judged.evidence, judged.accepted[:-16])


def test_score_round__probes_fitted_with_another_seed_or_other_settings__are_refused(problem: Problem):
    items = opened(records("good", 20), Status.UNAVAILABLE, Status.UNAVAILABLE)
    probes = judge(problem, items).probes
    with pytest.raises(ProbesMismatch):
        other = replace(TERMS, seed=b"t" * 32)
        score_round(other, MANIFEST, Carry(), problem, KEY, items, FILES, probes=probes)
    estimator = MANIFEST.estimator.model_copy(update={"params": {"epochs": 9, "replicas": 4}})
    with pytest.raises(ProbesMismatch):
        manifest = MANIFEST.model_copy(update={"estimator": estimator})
        score_round(TERMS, manifest, Carry(), problem, KEY, items, FILES, probes=probes)


def test_parse_evidence__number_beyond_its_type_on_chain__is_refused(problem: Problem):
    evidence = judge(problem, opened(*[Status.UNAVAILABLE] * 3)).evidence
    huge = replace_field(evidence, earnings=[("0x" + "c" * 40, 2**300)])
    with pytest.raises(EvidenceError, match="larger than"):
        parse_evidence(huge.to_bytes())


def replace_field(evidence, **changes: object):
    import msgspec

    return msgspec.structs.replace(evidence, **changes)
