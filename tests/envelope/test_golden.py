"""Envelopes sealed once must open for ever: the vectors are the contract with other implementations."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.envelope import cases, reference
from validator.envelope import (
    Context,
    EnvelopeError,
    FileKeys,
    Grant,
    Undecryptable,
    file_keys,
    open_backup,
    open_envelope,
    open_stream,
    seal,
    seal_shared,
    unwrap_secret,
)
from validator.envelope.format import MAGIC, read_head
from validator.envelope.keys import DerivedKeys, derive, key_id, unwrap

GOLDEN = Path(__file__).parents[1] / "golden" / "envelope"
EXPECTED = Context(**cases.CONTEXT)
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


# Version 1 with every intermediate, made by the reference (make_vectors.py).

SEALED = {one["name"]: one for one in json.loads((GOLDEN / "v1-seal.json").read_text())}
REFUSED: dict[str, Any] = json.loads((GOLDEN / "v1-refuse.json").read_text())


@pytest.mark.parametrize("vector", SEALED.values(), ids=list(SEALED))
def test_open__vector__opens_for_each_recipient_by_both_ways(vector: dict[str, Any]) -> None:
    sealed, size = base64.b64decode(vector["sealed"]), vector["plaintext"]["size"]
    assert hashlib.sha256(sealed).hexdigest() == vector["sealed_sha256"]

    for one in vector["recipients"]:
        secret, context = bytes.fromhex(one["secret"]), Context(**vector["context"])
        plaintext = open_envelope(sealed, secret, context, size)
        assert plaintext == open_stream(io.BytesIO(sealed), len(sealed), secret, context, size)
        assert plaintext == bytes(n * 7 % 251 for n in range(size))


@pytest.mark.parametrize("vector", SEALED.values(), ids=list(SEALED))
def test_derive_and_unwrap__vector__give_its_intermediates(vector: dict[str, Any]) -> None:
    raw = {name: bytes.fromhex(vector[name]) for name in ("info", "dek", "chunk_key", "nonce_prefix", "commitment")}
    head = read_head(base64.b64decode(vector["sealed"]))

    assert Context(**vector["context"]).info() == raw["info"]
    assert derive(raw["dek"], raw["info"]) == DerivedKeys(raw["chunk_key"], raw["nonce_prefix"], raw["commitment"])
    assert head.digest.hex() == vector["aad"]
    assert head.header.encode()[19:].hex() == vector["header"]
    for one in vector["recipients"]:
        assert key_id(bytes.fromhex(one["public"])).hex() == one["kid"]
        assert unwrap(bytes.fromhex(one["wrap"]), bytes.fromhex(one["secret"]), raw["info"]) == raw["dek"]


@pytest.mark.parametrize("case", REFUSED["cases"], ids=[case["name"].replace(" ", "-") for case in REFUSED["cases"]])
def test_open__negative_vector__is_refused_as_it_says(case: dict[str, Any]) -> None:
    bases = {name: base64.b64decode(data) for name, data in REFUSED["bases"].items()}
    data = b"".join(
        bytes.fromhex(part) if isinstance(part, str) else bases[part[0]][part[1] : part[2]] for part in case["parts"]
    )

    with pytest.raises(EnvelopeError) as caught:
        open_envelope(data, bytes.fromhex(case["secret"]), Context(**case["expected"]), case["limit"])
    assert (caught.value.code, caught.value.reason) == (case["code"], case["reason"])


def test_reference__what_our_code_sealed__opens_there_and_the_other_way_round() -> None:
    for size in (0, 1, 65_535, 65_536, 65_537):
        plaintext = os.urandom(size)
        sealed = seal(plaintext, [reference.public(cases.DAO), reference.public(cases.AUDITOR)], EXPECTED)
        assert reference.unseal(sealed, cases.AUDITOR, cases.CONTEXT) == plaintext
    for name in ENVELOPES:
        vector = _load(name)
        opened = reference.unseal(
            bytes.fromhex(vector["sealed"]), bytes.fromhex(vector["secrets"][1]), vector["context"]
        )
        assert hashlib.sha256(opened).hexdigest() == vector["plaintext_sha256"]


def test_shared__vector__gives_the_same_file_by_secret_and_by_its_keys() -> None:
    vector = {name: bytes.fromhex(value) for name, value in _load("v1-shared").items()}
    keys = file_keys(vector["secret"], vector["iv"], vector["info"])

    assert keys == FileKeys(vector["iv"], vector["iv_key"], vector["file_key"])
    assert seal_shared(vector["secret"], vector["plaintext"], vector["info"]) == vector["sealed"]
    assert keys.seal(vector["plaintext"], vector["info"]) == vector["sealed"]
    assert keys.open(vector["sealed"], vector["info"]) == vector["plaintext"]
    assert keys.seal(b"another", vector["info"])[:32] != vector["iv"]
