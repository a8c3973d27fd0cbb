"""A round is judged as its contributions come: few are held at a time, and how many changes no bit."""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from tests.rounds.tiny import FILES, KEY, MANIFEST, TERMS, opened, records, tiny_problem
from validator.influence import Problem, Records, fit
from validator.influence.response import Response
from validator.manifest import make_manifest
from validator.rounds.hashes import HASH_BYTES, Hashes, ascending, is_ascending
from validator.rounds.judge import chunks
from validator.rounds.memory import Latest, latest
from validator.rounds.score import Judged, score_round
from validator.rounds.types import Carry, Opened, Status

PARAMS: dict[str, dict[str, int]] = {
    "response": {"epochs": 4, "replicas": 2},
    "classical": {"iterations": 2, "folds": 2},
}
KNOWN = {
    "response": "468fc6aa92a88fb86bcbc20a8f07074f81f2cbca8e091b9f554c4a790bfe52d3",
    "classical": "47a5d9916663fc914ec32d594f77a21d7ff461eecfdc20c5c1a96e412e00d973",
}
"""SHA-256 over bundle, hashes, records and probes of `crowd`, computed before rounds were judged in a stream."""


def crowd(problem: Problem) -> list[Opened]:
    """Good and mislabelled ones, repeats of a contribution and of the anchor, and some that end before they count."""
    many = [records(f"p{i}", 1 + i % 5, wrong=i % 3 == 0) for i in range(24)]
    some = [*many[:8], Status.MALFORMED, many[3], *many[8:16], Status.UNAVAILABLE, problem.anchor]
    return opened(*some, *many[16:], Status.OVERSIZED)


def judged(estimator: str, items: Iterator[Opened] | list[Opened], count: int, **more: object) -> Judged:
    document = MANIFEST.model_dump()
    document["estimator"] = {"name": estimator, "params": PARAMS[estimator]}
    document["scoring"]["memory_records"] = 17
    manifest = make_manifest(document)
    terms = replace(TERMS, manifest=manifest.digest(), end_id=TERMS.first_id + count)
    return score_round(terms, manifest, Carry(), tiny_problem(), KEY, items, FILES, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("estimator", list(PARAMS))
def test_score_round__any_chunk__gives_the_bits_that_the_whole_round_at_once_gave(estimator: str) -> None:
    items = crowd(tiny_problem())
    for chunk_bytes in (1, 100, 1 << 30):
        found = judged(estimator, items, len(items), chunk_bytes=chunk_bytes)
        whole = found.evidence.to_bytes() + found.accepted + found.memory + found.probes
        assert hashlib.sha256(whole).hexdigest() == KNOWN[estimator]


@pytest.mark.parametrize("estimator", list(PARAMS))
def test_score_round__many_contributions__holds_the_records_of_few(estimator: str) -> None:
    alive, most = weakref.WeakSet[torch.Tensor](), 0

    def stream(count: int) -> Iterator[Opened]:
        nonlocal most
        for number in range(count):
            brought = records(f"c{number}", 4, wrong=True)  # next to none is paid, and so kept
            alive.add(brought.inputs)
            most = max(most, len(alive))
            (one,) = opened(brought)
            yield replace(one, submission=replace(one.submission, id=TERMS.first_id + number))
            del brought, one

    found = judged(estimator, stream(60), 60, chunk_bytes=4 * (4 * 8 + 4 * 8))
    assert len(found.evidence.contributions) == 60
    assert most <= 4


def test_score_round__progress__counts_contributions_when_a_chunk_of_them_is_done() -> None:
    items, told = crowd(tiny_problem()), list[tuple[str, int, int]]()
    each = records("p", 3).nbytes
    judged("classical", items, len(items), chunk_bytes=4 * each, progress=lambda *step: told.append(step))
    done = [step[1] for step in told if step[0] == "score"]
    assert done == sorted(set(done))
    assert done[-1] == len(items)
    assert 3 < len(done) < len(items) / 2


def test_score_round__too_few_or_others__are_refused() -> None:
    items = opened(records("a", 2), records("b", 2))
    with pytest.raises(ValueError, match="in order"):
        judged("classical", items, 3)
    with pytest.raises(ValueError, match="in order"):
        judged("classical", items, 1)


def test_judged__parts_ahead__are_as_many_as_the_bytes_allow() -> None:
    fitted = fit(tiny_problem(), "response", seed=b"s", epochs=2, replicas=1)
    assert isinstance(fitted, Response)
    taken = 0

    def parts() -> Iterator[Records]:
        nonlocal taken
        for number in range(20):
            taken += 1
            yield records(f"c{number}", 4)

    size = records("c0", 4).nbytes
    for done, _ in enumerate(fitted.judged(parts(), lambda raw, stderr: False, count=20, most_bytes=3 * size)):
        assert taken <= done + 4
    assert taken == 20


def test_chunks__any__hold_every_group_once_and_little_more_than_the_bytes() -> None:
    groups = [records(f"g{number}", 1 + number % 7) for number in range(40)]
    found = list(chunks(iter(groups), 5 * groups[0].nbytes))
    assert [group for chunk in found for group in chunk] == groups
    assert max(len(chunk) for chunk in found) <= 5
    assert all(sum(group.nbytes for group in chunk[:-1]) < 5 * groups[0].nbytes for chunk in found)


def test_latest__added_one_by_one__lets_go_of_what_it_will_not_give() -> None:
    parts = [records(f"p{number}", 1 + number % 4) for number in range(30)]
    kept = Latest(9)
    for part in parts:
        kept.add(part)
        assert sum(len(held) for held in kept._parts) < 9 + 4
    whole = torch.cat([part.inputs for part in parts])
    found, nothing = kept.records(), latest([], 9)
    assert found is not None
    assert torch.equal(found.inputs, whole[-9:])
    assert nothing is latest(parts, 0) is None


def test_hashes__any_order_and_repeats__are_the_set() -> None:
    made = [hashlib.blake2b(bytes([n % 97]), digest_size=HASH_BYTES).digest() for n in range(300)]
    made[5] = made[5][:-2] + b"\0\0"  # zero bytes at the end are bytes like others
    found = Hashes()
    for start in range(0, 300, 7):
        found = found.union(b"".join(made[start : start + 7]))
    others = [one[:-1] + bytes([one[-1] ^ 1]) for one in made]
    assert len(found) == len(set(made))
    assert found == Hashes.of(reversed(made))
    assert hash(found) == hash(Hashes.of(made))
    assert found.holds([*made[:3], *others[:3]]) == [True] * 3 + [False] * 3
    assert made[5] in found
    assert made[5].rstrip(b"\0") + b"\1\0" not in found
    assert made[0] not in Hashes()
    assert found != Hashes.of(made[:1])


def test_ascending__packed_hashes__are_sorted_and_known_to_be() -> None:
    made = [hashlib.blake2b(bytes([n]), digest_size=HASH_BYTES).digest() for n in range(50)]
    packed = ascending(b"".join(made))
    assert packed == b"".join(sorted(made))
    assert is_ascending(packed)
    assert is_ascending(b"")
    assert not is_ascending(b"".join(sorted(made, reverse=True)))
    assert not is_ascending(made[0] * 2)
