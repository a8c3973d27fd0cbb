"""Files are opened in the confined worker, and only what no other key could change is a verdict."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest

from tests.rounds.tiny import MANIFEST
from tests.vana.support import payload
from tests.vana.writer import compressed, literal, packet, seal_file, seal_key, seal_packets
from validator.envelope.eccrypto import public_key
from validator.envelope.foreign import REASONS
from validator.payload import ParsingWorker, WorkerFault
from validator.payload.worker import Request
from validator.payload.worker import Status as Said
from validator.rounds.types import Status
from validator.stages.open import payload_schema
from validator.stages.vana.open import OF_THE_KEY, Contents, KeyRefused, _answer, open_file, worker
from validator.stages.vana.worker import opened

SECRET = b"\x07" * 32
PASSWORD = b"0x" + b"ab" * 65
KEY = seal_key(PASSWORD, public_key(SECRET))


@pytest.fixture(scope="module")
def process() -> Iterator[ParsingWorker]:
    with worker() as one:
        yield one


def contents(process: ParsingWorker, message: bytes, key: str = KEY) -> Contents:
    return open_file(message, key, SECRET, MANIFEST, process)


def test_open__sound_file__gives_records_and_the_digest_of_its_plaintext(process: ParsingWorker):
    plain = payload(1)
    for message in (seal_file(plain, PASSWORD), seal_packets(compressed(literal(plain)), PASSWORD)):
        found = contents(process, message)
        assert found.records is not None
        assert len(found.records) == 12
        assert found.plain_digest == hashlib.sha256(plain).hexdigest()


@pytest.mark.parametrize(
    ("message", "status", "reason"),
    [
        (seal_file(b"neither", PASSWORD), Status.MALFORMED, "header"),
        (seal_file(payload(1, count=65), PASSWORD), Status.OVERSIZED, "records"),
        (seal_file(bytes(5000), PASSWORD), Status.OVERSIZED, "oversized"),
        (seal_packets(compressed(literal(bytes(50 << 20))), PASSWORD), Status.OVERSIZED, "oversized"),
        (seal_packets(compressed(compressed(literal(b""))), PASSWORD), Status.UNDECRYPTABLE, "nesting"),
        (packet(9, b"old"), Status.UNDECRYPTABLE, "order"),
        (b"-----BEGIN PGP MESSAGE-----", Status.UNDECRYPTABLE, "armour"),
    ],
)
def test_open__bytes_that_no_key_mends__are_a_verdict(
    process: ParsingWorker, message: bytes, status: Status, reason: str
):
    found = contents(process, message)

    assert (found.status, found.reason, found.records) == (status, reason, None)
    assert process.faults == 0


@pytest.mark.parametrize(
    "key",
    [
        seal_key(b"0x" + b"cd" * 65, public_key(SECRET)),
        seal_key(PASSWORD, public_key(b"\x08" * 32)),
        seal_key(b"words", public_key(SECRET)),
        "not hex",
    ],
    ids=["another password", "to somebody else", "no signature", "no key"],
)
def test_open__key_that_does_not_fit__waits_for_another(process: ParsingWorker, key: str):
    with pytest.raises(KeyRefused, match="the granted key does not open the file"):
        contents(process, seal_file(payload(1), PASSWORD), key)


def test_open__file_changed_after_it_was_sealed__is_not_told_from_a_wrong_key(process: ParsingWorker):
    message = seal_file(payload(1), PASSWORD)

    with pytest.raises(KeyRefused, match="mdc"):
        contents(process, message[:-1] + bytes([message[-1] ^ 1]))


def test_reasons__each__is_of_the_key_or_of_the_bytes():
    assert {reason for reason in REASONS if reason.startswith("key-")} < OF_THE_KEY
    assert set(REASONS) > OF_THE_KEY


REQUEST = Request("safetensors", payload_schema(MANIFEST), 100, 5, 5.0, 1 << 30, 4096)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (Said("unopenable", "because"), b""),
        (Said("parsed", "", "no digest"), opened(REQUEST, b"\0\0")[1]),
        (Said("parsed", "", "00" * 32), b"nonsense"),
        (Said("fault", "", "MemoryError"), b""),
        (Said("malformed", "because"), b""),
    ],
)
def test_answer__nonsense_of_a_child__is_our_fault_and_no_verdict(status: Said, body: bytes):
    with pytest.raises(WorkerFault):
        _answer(REQUEST, status, bytearray(body))


def test_opened__frame_that_is_no_frame__is_answered():
    for framed in (b"", b"\xff\xff", b"\0\0", b"\0\x05abc"):
        status, body = opened(REQUEST, framed)
        assert (status.kind, body) == ("unopenable", b"")
