"""What strangers' bytes meet first, as functions of bytes: each returns for whatever is sound, or raises our one error.
Anything else that comes out, or a run that does not end, is a finding.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import numpy as np

from tests.envelope import cases, reference
from tests.vana.writer import literal, seal_key, seal_packets
from validator.envelope import EnvelopeError, open_envelope
from validator.envelope.eccrypto import open_password, public_key
from validator.envelope.foreign import Unopenable
from validator.envelope.format import MAGIC, read_head
from validator.envelope.openpgp import open_message
from validator.payload import Malformed, classification, encode_safetensors, sequences
from validator.payload.jsonl import parse_jsonl
from validator.payload.safetensors_format import parse_safetensors

RECORDS = classification((3,), 4, max_records=50, max_bytes=1 << 16)
TOKENS = sequences(4, 10, max_records=50, max_bytes=1 << 16)
BODY = encode_safetensors(np.full((5, 3), 0.5, np.float32), np.arange(5) % 4)
PASSWORD, SECRET = b"0x" + b"ab" * 65, b"\x07" * 32
OPENPGP = seal_packets(literal(b"data"), PASSWORD, draw=Random(1).randbytes)
GRANTED = seal_key(PASSWORD, public_key(SECRET), draw=Random(2).randbytes)
HEADER_BYTES = int.from_bytes(BODY[:8], "little")


def envelope_header(data: bytes) -> None:
    """The header of an envelope: `data` is the JSON."""
    framed = MAGIC + len(data).to_bytes(4, "big") + data
    try:
        head = read_head(framed)
    except EnvelopeError:
        return
    assert head.header.encode() == framed, "a header was taken that is not canonical"


def envelope(data: bytes) -> None:
    """A whole envelope: nothing opens but what was sealed."""
    try:
        plain = open_envelope(data, cases.DAO, cases.CASES["no body"].expected, 1 << 16)
    except EnvelopeError:
        return
    assert data in (cases.SHORT, cases.AGAIN), "another file than was sealed has opened"
    assert plain == reference.unseal(data, cases.DAO, cases.CONTEXT)


def safetensors_header(data: bytes) -> None:
    """The header of a safetensors file: `data` is the JSON, before a body that fits the usual one."""
    framed = len(data).to_bytes(8, "little") + data + BODY[8 + HEADER_BYTES :]
    try:
        parsed = parse_safetensors(framed, RECORDS)
    except Malformed:
        return
    assert parsed.arrays["inputs"].shape == (5, 3), "other shapes than the body can hold"


def safetensors(data: bytes) -> None:
    """A whole safetensors file."""
    try:
        parsed = parse_safetensors(data, RECORDS)
    except Malformed:
        return
    _check_records(parsed.arrays["inputs"], parsed.targets)


def jsonl(data: bytes) -> None:
    """JSON Lines of records with a class."""
    try:
        parsed = parse_jsonl(data, RECORDS)
    except Malformed:
        return
    _check_records(parsed.arrays["inputs"], parsed.targets)


def jsonl_sequences(data: bytes) -> None:
    """JSON Lines of sequences."""
    try:
        tokens = parse_jsonl(data, TOKENS).arrays["inputs"]
    except Malformed:
        return
    assert ((tokens >= -1) & (tokens <= 9)).all() and (tokens[:, :2] >= 0).all(), "tokens out of their range"


def openpgp(data: bytes) -> None:
    """A file of Vana's: nothing opens but what was sealed."""
    try:
        open_message(data, PASSWORD, 1 << 12)
    except Unopenable:
        return
    assert data == OPENPGP, "another file than was sealed has opened"


def openpgp_packets(data: bytes) -> None:
    """What is inside of one, once the MDC has vouched for it: `data` are the packets."""
    try:
        plain = open_message(seal_packets(data, PASSWORD, draw=Random(3).randbytes), PASSWORD, 1 << 12)
    except Unopenable:
        return
    assert len(plain) <= 1 << 12, "more than the limit"


def eccrypto(data: bytes) -> None:
    """A granted key, as text."""
    try:
        opened = open_password(data.decode("latin-1"), SECRET)
    except Unopenable:
        return
    assert opened == PASSWORD, "another key than was granted has opened"


TARGETS: dict[str, Callable[[bytes], None]] = {
    one.__name__: one
    for one in (
        envelope_header,
        envelope,
        safetensors_header,
        safetensors,
        jsonl,
        jsonl_sequences,
        openpgp,
        openpgp_packets,
        eccrypto,
    )
}


def _check_records(inputs: np.ndarray, targets: np.ndarray | None) -> None:
    assert np.isfinite(inputs).all() and ((inputs >= 0) & (inputs <= 1)).all(), "values out of their range"
    assert targets is not None and ((targets >= 0) & (targets < 4)).all(), "classes out of their range"
    assert len(inputs) == len(targets) <= 50, "records out of their bound"
