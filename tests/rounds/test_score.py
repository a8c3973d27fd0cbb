from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
import torch

from validator.exact.random import Stream
from validator.influence import Problem, Records
from validator.influence.models import build, initialise
from validator.manifest import make_manifest
from validator.rounds.carry import carry_after
from validator.rounds.evidence import EvidenceError, outcome, parse_evidence, sealed
from validator.rounds.redundancy import record_hash
from validator.rounds.score import (
    Digests,
    ProbesMismatch,
    ScoringFault,
    VersionMismatch,
    check_versions,
    own_versions,
    score_round,
)
from validator.rounds.types import Carry, Opened, Status, Submission, Terms

KEY = b"k" * 32
FILE = {"digest": "00" * 32, "codec": "raw", "size": 1}
MANIFEST = make_manifest(
    {
        "format": "poc-manifest/1",
        "name": "tiny",
        "versions": own_versions().model_dump(),
        "model": {"family": "mlp", "config": {"inputs": 2}, "weights": FILE},
        "sealed": {"file": FILE, "key_epoch": 1},
        "estimator": {"name": "response", "params": {"epochs": 10, "replicas": 4}},
        "payload": {
            "format": "safetensors",
            "dtype": "float32",
            "shape": [2],
            "minimum": "-9",
            "maximum": "9",
            "classes": 2,
        },
        "limits": {"envelope_bytes": 4096, "min_records": 1, "max_records": 64},
        "scoring": {"objective": "expected_error", "kappa_milli": 0, "floor": 0, "contribution_cap": 10**9},
        "rewards": {"full_pool_score": 1, "contributor_cap_bps": 10_000},
    }
)
TERMS = Terms(1, "0x" + "ab" * 20, 1, 1, MANIFEST.digest(), b"b" * 32, b"s" * 32, 1_000, 1, 4)


def records(name: str, count: int, *, wrong: bool = False) -> Records:
    """Two classes told apart by the sign of the first input."""
    inputs = Stream(b"test", name).normal((count, 2))
    targets = (inputs[:, 0] > 0).to(torch.int64)
    return Records(inputs, 1 - targets if wrong else targets)


@pytest.fixture(scope="module")
def problem() -> Problem:
    model = build("mlp", {"inputs": 2, "hidden": [4], "classes": 2, "activation": "relu"})
    initialise(model, Stream(b"test", "model"))
    return Problem(model, records("anchor", 8), records("queries", 60))


def submission(id_: int, contributor: str = "c") -> Submission:
    return Submission(id_, "0x" + contributor * 40, bytes([id_]) * 32, 0, 100, 1)


def opened(*items: Records | Status) -> list[Opened]:
    return [
        Opened(submission(id_), included=item not in (Status.UNAVAILABLE, Status.OVERSIZED), status=item)
        if isinstance(item, Status)
        else Opened(submission(id_), included=True, records=item)
        for id_, item in enumerate(items, start=TERMS.first_id)
    ]


def digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def judge(problem: Problem, items: list[Opened], carry: Carry | None = None, **more: object):
    return score_round(TERMS, MANIFEST, carry or Carry(), problem, KEY, items, Digests(digest, digest), **more)


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
    carry = Carry(known=frozenset(record_hash(KEY, known.inputs[i], known.targets[i]) for i in range(5)))
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
    again = score_round(second, MANIFEST, carry, problem, KEY, items, Digests(digest, digest)).evidence
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
        score_round(TERMS, broken, Carry(), problem, KEY, items, Digests(digest, digest))


@pytest.mark.parametrize(("step", "hint"), [(1, "upgrade this node"), (-1, "this node is newer")])
def test_check_versions__other_arithmetic__names_what_to_do(step: int, hint: str):
    own = own_versions()
    with pytest.raises(VersionMismatch, match=hint):
        check_versions(own.model_copy(update={"exact": own.exact + step}))


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
        score_round(other, MANIFEST, Carry(), problem, KEY, items, Digests(digest, digest), probes=probes)
    estimator = MANIFEST.estimator.model_copy(update={"params": {"epochs": 9, "replicas": 4}})
    with pytest.raises(ProbesMismatch):
        manifest = MANIFEST.model_copy(update={"estimator": estimator})
        score_round(TERMS, manifest, Carry(), problem, KEY, items, Digests(digest, digest), probes=probes)


def test_parse_evidence__number_beyond_its_type_on_chain__is_refused(problem: Problem):
    evidence = judge(problem, opened(*[Status.UNAVAILABLE] * 3)).evidence
    huge = replace_field(evidence, earnings=[("0x" + "c" * 40, 2**300)])
    with pytest.raises(EvidenceError, match="larger than"):
        parse_evidence(huge.to_bytes())


def replace_field(evidence, **changes: object):
    import msgspec

    return msgspec.structs.replace(evidence, **changes)
