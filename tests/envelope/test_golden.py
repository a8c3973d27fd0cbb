"""Envelopes sealed once must open for ever: the vectors are the contract with other implementations."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from validator.envelope import Context, Grant, Undecryptable, open_backup, open_envelope, unwrap_secret
from validator.envelope.format import MAGIC, read_head

GOLDEN = Path(__file__).parents[1] / "golden" / "envelope"
ENVELOPES = ["empty", "short", "two-chunks"]


def _load(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((GOLDEN / f"{name}.json").read_text())
    return found


@pytest.mark.parametrize("name", ENVELOPES)
def test_open__golden_envelope__gives_the_plaintext_of_then(name: str) -> None:
    vector = _load(name)
    sealed, context = bytes.fromhex(vector["sealed"]), Context(**vector["context"])

    for secret in vector["secrets"]:
        plaintext = open_envelope(sealed, bytes.fromhex(secret), context, vector["plaintext_size"])
        assert (len(plaintext), hashlib.sha256(plaintext).hexdigest()) == (
            vector["plaintext_size"],
            vector["plaintext_sha256"],
        )


@pytest.mark.parametrize("name", ENVELOPES)
def test_encode__golden_header__writes_the_same_bytes(name: str) -> None:
    vector = _load(name)
    sealed = bytes.fromhex(vector["sealed"])
    head = read_head(sealed)

    assert head.header.encode() == sealed[: head.size]
    assert sealed[len(MAGIC) + 4 : head.size].decode() == vector["header"]


@pytest.mark.parametrize("name", ENVELOPES)
def test_open__golden_envelope_with_its_last_bit_flipped__is_refused(name: str) -> None:
    vector = _load(name)
    sealed = bytearray.fromhex(vector["sealed"])
    sealed[-1] ^= 1

    with pytest.raises(Undecryptable):
        open_envelope(bytes(sealed), bytes.fromhex(vector["secrets"][0]), Context(**vector["context"]), 1 << 20)


def test_unwrap_secret__golden_grant__gives_the_epoch_secret() -> None:
    vector = _load("grant")
    raw = {name: bytes.fromhex(vector[name]) for name in ("wrapped", "operator_secret", "epoch_public", "epoch_secret")}

    found = unwrap_secret(raw["wrapped"], raw["operator_secret"], Grant(**vector["grant"]), raw["epoch_public"])

    assert found == raw["epoch_secret"]


def test_open_backup__golden_backup__gives_the_note() -> None:
    vector = _load("backup")

    found = open_backup(bytes.fromhex(vector["secret"]), bytes.fromhex(vector["sealed"]), vector["info"].encode())

    assert found.decode() == vector["plaintext"]
