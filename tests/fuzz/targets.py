"""What strangers' bytes meet first, as functions of bytes: each returns for whatever is sound, or raises our one error.
Anything else that comes out, or a run that does not end, is a finding.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests.envelope import cases, reference
from validator.envelope import EnvelopeError, open_envelope
from validator.envelope.format import MAGIC, read_head
from validator.payload import Malformed, classification, encode_safetensors, sequences
from validator.payload.jsonl import parse_jsonl
from validator.payload.safetensors_format import parse_safetensors

RECORDS = classification((3,), 4, max_records=50, max_bytes=1 << 16)
TOKENS = sequences(4, 10, max_records=50, max_bytes=1 << 16)
BODY = encode_safetensors(np.full((5, 3), 0.5, np.float32), np.arange(5) % 4)
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


TARGETS: dict[str, Callable[[bytes], None]] = {
    one.__name__: one for one in (envelope_header, envelope, safetensors_header, safetensors, jsonl, jsonl_sequences)
}


def _check_records(inputs: np.ndarray, targets: np.ndarray | None) -> None:
    assert np.isfinite(inputs).all() and ((inputs >= 0) & (inputs <= 1)).all(), "values out of their range"
    assert targets is not None and ((targets >= 0) & (targets < 4)).all(), "classes out of their range"
    assert len(inputs) == len(targets) <= 50, "records out of their bound"
