"""From the bytes of an envelope to records, or to the status that ends a contribution."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from structlog.testing import capture_logs

from tests.rounds.test_score import MANIFEST
from validator.content import TooLarge
from validator.envelope import Context, generate_keypair, seal
from validator.influence.records import NO_TARGET
from validator.manifest import Manifest, make_manifest
from validator.payload import Malformed, WorkerFault, encode_jsonl, encode_safetensors
from validator.rounds.types import Opened, Status, Submission
from validator.stages.keyring import EpochKeys
from validator.stages.open import next_tokens, open_all, parse_payload, payload_schema, to_records

PLACE = (5, "0x" + "Ab" * 20)
ALICE, MALLORY = "0x" + "aA" * 20, "0x" + "bb" * 20
PAIR = generate_keypair()
TOKENS = np.array([[1, 2, 3, 4], [5, 0, -1, -1], [9, 0, 0, -1]])


def manifest(**payload: object) -> Manifest:
    document = MANIFEST.model_dump()
    document["payload"] |= payload
    return make_manifest(document)


LANGUAGE = manifest(task="next_token", dtype="int64", shape=[4], minimum="0", maximum="9", classes=10)
LINES = manifest(**{**LANGUAGE.payload.model_dump(), "format": "jsonl"})


def sealed(plain: bytes, contributor: str = ALICE, epoch: int = 1, chain: int = PLACE[0]) -> bytes:
    return seal(plain, [PAIR.public], Context(chain, PLACE[1].lower(), epoch, contributor.lower()))


def opened(
    envelope: bytes,
    rules: Manifest = MANIFEST,
    *,
    size: int | None = None,
    included: bool = True,
    read: Callable[[Submission], bytes] | None = None,
) -> Opened:
    submission = Submission(7, ALICE, bytes(32), 0, len(envelope) if size is None else size, 1)
    ids = frozenset([7] if included else [])
    keys = EpochKeys({1: PAIR.secret})
    return next(open_all([submission], ids, rules, keys, PLACE, read or (lambda _: envelope)))


GOOD = encode_safetensors(np.array([[0, 1], [2, 3]], np.float32), np.array([0, 1]))


def test_open__sound_envelope__gives_its_records() -> None:
    found = opened(sealed(GOOD))

    assert found.records is not None
    assert found.records.inputs.tolist() == [[0, 1], [2, 3]]
    assert found.records.targets.tolist() == [0, 1]
    assert (found.included, found.reason) == (True, "")


def broken(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.mark.parametrize(
    ("envelope", "rules", "status", "reason"),
    [
        (sealed(GOOD, contributor=MALLORY), MANIFEST, Status.REPLAYED, "replayed"),
        (sealed(GOOD, chain=6), MANIFEST, Status.REPLAYED, "replayed"),
        (broken(sealed(GOOD)), MANIFEST, Status.UNDECRYPTABLE, "undecryptable"),
        (b"", MANIFEST, Status.UNDECRYPTABLE, "undecryptable"),
        (sealed(b""), MANIFEST, Status.MALFORMED, "header"),
        (sealed(encode_safetensors(np.full((1, 2), 10, np.float32), [0])), MANIFEST, Status.MALFORMED, "range"),
        (sealed(encode_safetensors(np.zeros((65, 2), np.float32), [0] * 65)), MANIFEST, Status.OVERSIZED, "records"),
        (sealed(encode_safetensors(np.array([[1, -1, 2, 3]]))), LANGUAGE, Status.MALFORMED, "sequence"),
        (sealed(encode_jsonl(TOKENS)), LANGUAGE, Status.MALFORMED, "header"),
        (sealed(encode_safetensors(TOKENS)), LINES, Status.MALFORMED, "line"),
        (sealed(GOOD), LANGUAGE, Status.MALFORMED, "tensor"),
    ],
)
def test_open__what_breaks_a_rule__ends_with_its_status_and_reason(
    envelope: bytes, rules: Manifest, status: Status, reason: str
) -> None:
    found = opened(envelope, rules)

    assert (found.status, found.reason, found.records) == (status, reason, None)


def test_open__declared_too_large__is_neither_included_nor_read() -> None:
    def read(_: Submission) -> bytes:
        raise AssertionError("must not be read")

    found = opened(b"", size=MANIFEST.limits.envelope_bytes + 1, read=read)

    assert (found.included, found.status, found.reason) == (False, Status.OVERSIZED, "declared_size")


def test_open__not_included__is_unavailable() -> None:
    assert opened(sealed(GOOD), included=False).status is Status.UNAVAILABLE


@pytest.mark.parametrize("off", [-1, 1])
def test_open__other_size_than_declared__is_malformed(off: int) -> None:
    envelope = sealed(GOOD)

    found = opened(envelope, size=len(envelope) + off)

    assert (found.status, found.reason) == (Status.MALFORMED, "size")


def test_open__larger_than_declared_at_the_store__is_malformed() -> None:
    def read(_: Submission) -> bytes:
        raise TooLarge("more bytes than declared")

    assert opened(sealed(GOOD), read=read).reason == "size"


def test_open__store_does_not_answer__is_passed_on_and_no_verdict() -> None:
    def read(_: Submission) -> bytes:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        opened(sealed(GOOD), read=read)


@pytest.mark.parametrize("plain", [encode_safetensors(TOKENS), encode_jsonl(TOKENS)], ids=["safetensors", "jsonl"])
def test_open__sequences__become_inputs_and_the_next_token_of_each(plain: bytes) -> None:
    found = opened(sealed(plain), LINES if plain.startswith(b"{") else LANGUAGE).records

    assert found is not None
    assert found.inputs.tolist() == [[1, 2, 3, 4], [5, 0, 0, 0], [9, 0, 0, 0]]
    assert found.targets.tolist() == [[2, 3, 4, -1], [0, -1, -1, -1], [0, 0, -1, -1]]
    assert found.targets.dtype == torch.int64


def test_next_tokens__one_more_at_the_end__leaves_what_came_before_as_it_was() -> None:
    shorter, longer = next_tokens(torch.tensor([[5, 6, 7, -1]])), next_tokens(torch.tensor([[5, 6, 7, 8]]))

    assert shorter.targets[0, :2].equal(longer.targets[0, :2])
    assert (shorter.targets[0, 2], longer.targets[0, 2]) == (NO_TARGET, 8)


def test_to_records__pixels_of_eight_bits__meet_the_model_as_floats() -> None:
    rules = manifest(dtype="uint8", minimum="0", maximum="255")
    parsed = parse_payload(encode_safetensors(np.array([[0, 255]], np.uint8), np.array([1])), rules)

    assert to_records(parsed).inputs.tolist() == [[0.0, 255.0]]
    assert to_records(parsed).inputs.dtype == torch.float32


def test_parse_payload__fewer_records_than_asked_for__is_malformed() -> None:
    rules = MANIFEST.model_copy(update={"limits": MANIFEST.limits.model_copy(update={"min_records": 3})})

    with pytest.raises(Malformed) as caught:
        parse_payload(GOOD, rules)
    assert caught.value.code == "few_records"


def test_payload_schema__of_a_language_model__has_tokens_and_no_targets() -> None:
    schema = payload_schema(LANGUAGE)

    assert [(one.name, one.shape, one.minimum, one.maximum) for one in schema.tensors] == [("inputs", (4,), -1, 9)]
    assert schema.max_bytes == LANGUAGE.limits.envelope_bytes


def test_open__parser_dies_here__is_logged_and_raised_and_no_verdict(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys.modules["validator.payload.parse"], "_START", "import sys; sys.exit(3)")

    with capture_logs() as logs, pytest.raises(WorkerFault, match="is gone"):
        opened(sealed(GOOD))
    assert [(line["event"], line["log_level"]) for line in logs] == [
        ("parsing fault: this machine's, not the data's", "error")
    ] * 2


def test_open_all__many_contributions__start_one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    module, started = sys.modules["validator.payload.parse"], []
    spawn = module._spawn
    monkeypatch.setattr(module, "_spawn", lambda *given: started.append(1) or spawn(*given))
    envelope = sealed(GOOD)
    submitted = [Submission(number, ALICE, bytes(32), 0, len(envelope), 1) for number in range(1, 41)]

    found = open_all(
        submitted, frozenset(range(1, 41)), MANIFEST, EpochKeys({1: PAIR.secret}), PLACE, lambda _: envelope
    )

    assert [one.records is not None for one in found] == [True] * 40
    assert len(started) == 1
