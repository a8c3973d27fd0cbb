"""Envelopes that must not open, each with the code and the reason of its refusal: the hostile suite and the negative
vectors are this one table. Everything is made by the reference from fixed keys, so that a case is the same bytes for
ever.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.envelope import reference
from validator.envelope import Context

CHUNK, TAG, FULL, FIXED = 65_536, 16, 65_552, 19
ALICE, MALLORY = "0x" + "a1" * 20, "0x" + "ee" * 20
CONTEXT: dict[str, Any] = {
    "chain_id": 31_337,
    "contract": "0x" + "c0" * 20,
    "contributor": ALICE,
    "key_epoch": 2,
}


def fixed(label: str) -> bytes:
    """32 bytes that are the same for ever."""
    return hashlib.sha256(b"test vector: " + label.encode()).digest()


def pattern(size: int) -> bytes:
    return bytes(n * 7 % 251 for n in range(size))


DAO, AUDITOR, STRANGER = fixed("dao"), fixed("auditor"), fixed("stranger")


def made(name: str, size: int, context: dict[str, Any] = CONTEXT) -> tuple[bytes, dict[str, Any]]:
    recipients = [reference.public(DAO), reference.public(AUDITOR)]
    ephemerals = [fixed(f"{name} ephemeral {n}") for n in range(2)]
    return reference.seal(pattern(size), recipients, context, fixed(f"{name} dek"), ephemerals)


SIZES = {"empty": 0, "short": 29, "short-again": 29, "one-chunk": CHUNK, "three-chunks": 2 * CHUNK + 100}
SHORT, STEPS = made("short", SIZES["short"])
AGAIN, _ = made("short-again", SIZES["short-again"])
LONG, LONG_STEPS = made("three-chunks", SIZES["three-chunks"])
BASES = {"short": SHORT, "short-again": AGAIN, "three-chunks": LONG}

Part = tuple[str, int, int] | bytes
"""A stretch of a base, or bytes of the case's own."""


@dataclass(frozen=True)
class Case:
    """What is shown to whom, and how it is refused."""

    parts: tuple[Part, ...]
    code: str
    reason: str
    secret: bytes = DAO
    context: tuple[tuple[str, Any], ...] = ()
    limit: int = 1 << 30

    @property
    def data(self) -> bytes:
        return b"".join(part if isinstance(part, bytes) else BASES[part[0]][part[1] : part[2]] for part in self.parts)

    @property
    def expected(self) -> Context:
        return Context(**{**CONTEXT, **dict(self.context)})


def size_of(base: str) -> int:
    return len(BASES[base])


def head_of(base: str) -> int:
    data = BASES[base]
    return FIXED + int.from_bytes(data[15:FIXED], "big")


def whole(base: str) -> Part:
    return (base, 0, size_of(base))


def head(text: bytes) -> bytes:
    return reference.MAGIC + len(text).to_bytes(4, "big") + text


def text_of(base: str = "short") -> bytes:
    return BASES[base][FIXED : head_of(base)]


def with_text(text: bytes, base: str = "short") -> tuple[Part, ...]:
    return (head(text), (base, head_of(base), size_of(base)))


def with_fields(change: Callable[[dict[str, Any]], None]) -> tuple[Part, ...]:
    fields = json.loads(text_of())
    change(fields)
    return with_text(reference.canonical(fields))


def forged(bodies: list[tuple[int, int, bool]]) -> tuple[Part, ...]:
    """The three chunks' head with chunks of (size, counter, last) that its own author seals as no honest one would."""
    steps, prefix = LONG_STEPS, LONG_STEPS["nonce_prefix"]
    cipher = AESGCM(steps["chunk_key"])
    sealed = [
        cipher.encrypt(prefix + counter.to_bytes(4, "big") + bytes([last]), pattern(size), steps["aad"])
        for size, counter, last in bodies
    ]
    return (("three-chunks", 0, head_of("three-chunks")), *sealed)


def flipped(base: str, at: int) -> tuple[Part, ...]:
    return ((base, 0, at), bytes([BASES[base][at] ^ 1]), (base, at + 1, size_of(base)))


def two_keys() -> tuple[Part, ...]:
    """The auditor is wrapped another DEK than the DAO: each would be shown other data."""
    other = fixed("another dek")
    wrap = reference.seal(b"", [reference.public(AUDITOR)], CONTEXT, other, [fixed("ephemeral of another dek")])[1]
    return with_fields(lambda fields: fields["recipients"][1].update(wrap=wrap["recipients"][0]["wrap"].hex()))


H, S = head_of("three-chunks"), head_of("short")
END = size_of("three-chunks")
U = "undecryptable"


def chunk(n: int) -> Part:
    return ("three-chunks", H + n * FULL, min(H + (n + 1) * FULL, END))


HEAD: Part = ("three-chunks", 0, H)
EMPTY_WRAP = {"kid": "00" * 16, "wrap": "00" * 80}


def field(name: str, value: Any) -> tuple[Part, ...]:
    return with_fields(lambda fields: fields.update({name: value}))


def context(name: str, value: Any) -> tuple[Part, ...]:
    return with_fields(lambda fields: fields["context"].update({name: value}))


def recipient(change: Callable[[list[dict[str, Any]]], Any]) -> tuple[Part, ...]:
    return with_fields(lambda fields: change(fields["recipients"]) and None)


CASES: dict[str, Case] = {
    # The file as a whole.
    "no bytes": Case((b"",), U, "magic"),
    "magic cut": Case((("short", 0, 14),), U, "magic"),
    "another version": Case((b"poc-envelope/2\n", ("short", 15, size_of("short"))), U, "magic"),
    "magic with a carriage return": Case((b"poc-envelope/1\r", ("short", 15, size_of("short"))), U, "magic"),
    "magic alone": Case((("short", 0, 15),), U, "header-size"),
    "header of no bytes": Case((reference.MAGIC, bytes(4), ("short", S, size_of("short"))), U, "header-size"),
    "header cut": Case((("short", 0, S - 1),), U, "header-size"),
    "header longer than the file": Case((reference.MAGIC, b"\0\x0f\xff\xff", text_of()), U, "header-size"),
    "header of a byte more than allowed": Case(
        (reference.MAGIC, b"\0\x10\0\1", b"[" * 1000, bytes(1 << 20)), U, "header-size"
    ),
    "header of 4 GiB": Case((reference.MAGIC, b"\xff" * 4, text_of()), U, "header-size"),
    # The header as a text.
    "header not JSON": Case(with_text(b"{'a':1}"), U, "header-json"),
    "header not UTF-8": Case(with_text(b'"\xff"'), U, "header-json"),
    "header in UTF-16": Case(with_text('{"suite":1}'.encode("utf-16")), U, "header-json"),
    "header after a byte order mark": Case(with_text(b"\xef\xbb\xbf" + text_of()), U, "header-json"),
    "header with a NUL": Case(with_text(text_of() + b"\0"), U, "header-json"),
    "header of lists, 500,000 deep": Case(with_text(b"[" * 500_000), U, "header-json"),
    "header of objects, 100,000 deep": Case(with_text(b'{"a":' * 100_000), U, "header-json"),
    "header with NaN": Case(with_text(text_of().replace(b'"suite":1', b'"suite":NaN')), U, "header-json"),
    "header with a number of 10,000 digits": Case(
        with_text(text_of().replace(b'"suite":1', b'"suite":' + b"1" * 10_000)), U, "header-json"
    ),
    "header with white space": Case(with_text(text_of().replace(b",", b", ", 1)), U, "header-canonical"),
    "header in another order": Case(
        with_text(b'{"suite":1,' + text_of()[1:].replace(b',"suite":1', b"")), U, "header-canonical"
    ),
    "header with a key twice": Case(with_text(text_of()[:-1] + b',"suite":1}'), U, "header-canonical"),
    "header with an escaped key": Case(
        with_text(text_of().replace(b'"suite"', b'"\\u0073uite"')), U, "header-canonical"
    ),
    "header of letters that are no ASCII": Case(with_text('"é"'.encode()), U, "header-canonical"),
    # Its fields.
    "header a list": Case(with_text(b"[]"), U, "header-field"),
    "header null": Case(with_text(b"null"), U, "header-field"),
    "field missing": Case(with_fields(lambda fields: fields.pop("commitment") and None), U, "header-field"),
    "field too many": Case(field("extra", 1), U, "header-field"),
    "commitment short": Case(field("commitment", "00" * 31), U, "header-field"),
    "commitment in upper case": Case(field("commitment", "AA" * 32), U, "header-field"),
    "suite unknown": Case(field("suite", 3), U, "suite"),
    "suite experimental": Case(field("suite", 2), U, "suite"),
    "suite true": Case(with_text(text_of().replace(b'"suite":1', b'"suite":true')), U, "suite"),
    "suite 1.0": Case(with_text(text_of().replace(b'"suite":1', b'"suite":1.0')), U, "suite"),
    "suite a text": Case(field("suite", "1"), U, "suite"),
    "no recipients": Case(field("recipients", []), U, "recipients"),
    "recipients an object": Case(field("recipients", {}), U, "recipients"),
    "1,025 recipients": Case(
        field("recipients", [{**EMPTY_WRAP, "kid": f"{n:032x}"} for n in range(1025)]), U, "recipients"
    ),
    "a recipient twice": Case(recipient(lambda them: them.append(them[0]) or True), U, "recipients"),
    "a recipient with a name": Case(recipient(lambda them: them[0].update(name="x") or True), U, "recipients"),
    "a wrap cut": Case(recipient(lambda them: them[0].update(wrap=them[0]["wrap"][:-2]) or True), U, "recipients"),
    "a kid in odd digits": Case(recipient(lambda them: them[0].update(kid="0x" + "00" * 15) or True), U, "recipients"),
    "context a list": Case(field("context", []), U, "context"),
    "chain id negative": Case(context("chain_id", -1), U, "context"),
    "chain id true": Case(context("chain_id", True), U, "context"),
    "chain id beyond 2**53": Case(context("chain_id", 2**53), U, "context"),
    "key epoch zero": Case(context("key_epoch", 0), U, "context"),
    "key epoch beyond 32 bits": Case(context("key_epoch", 2**32), U, "context"),
    "contract in upper case": Case(context("contract", "0x" + "C0" * 20), U, "context"),
    "contributor in other digits": Case(context("contributor", "0x" + "٣" * 40), U, "context"),
    # Whose it is.
    "shown by another contributor": Case(
        (whole("short"),), "replayed", "contributor", context=(("contributor", MALLORY),)
    ),
    "shown to another contract": Case(
        (whole("short"),), "replayed", "contract", context=(("contract", "0x" + "c1" * 20),)
    ),
    "shown on another chain": Case((whole("short"),), "replayed", "contract", context=(("chain_id", 1),)),
    "submitted under another key epoch": Case((whole("short"),), U, "epoch", context=(("key_epoch", 3),)),
    "a thief writes himself into the header": Case(
        context("contributor", MALLORY), U, "wrap", context=(("contributor", MALLORY),)
    ),
    "another epoch written into the header": Case(context("key_epoch", 3), U, "wrap", context=(("key_epoch", 3),)),
    # The keys.
    "not sealed for this key": Case((whole("short"),), U, "not-a-recipient", secret=STRANGER),
    "a stranger under the name of his key": Case(
        recipient(lambda them: them[0].update(kid=reference.kid(reference.public(STRANGER)).hex()) or True),
        U,
        "wrap",
        secret=STRANGER,
    ),
    "wraps exchanged": Case(recipient(lambda them: them[0].update(wrap=them.pop()["wrap"]) or True), U, "wrap"),
    "a wrap of zeros": Case(recipient(lambda them: them[0].update(wrap="00" * 80) or True), U, "wrap"),
    "another DEK for one recipient": Case(two_keys(), U, "commitment", secret=AUDITOR),
    "a commitment to another DEK": Case(field("commitment", "00" * 32), U, "commitment"),
    # The body.
    "more than the limit": Case((whole("three-chunks"),), "oversized", "oversized", limit=CHUNK),
    "no body": Case((HEAD,), U, "length"),
    "body cut within the first tag": Case((HEAD, ("three-chunks", H, H + 10)), U, "length"),
    "an empty chunk after a full one": Case((HEAD, chunk(0), bytes(TAG)), U, "length"),
    "last byte missing": Case((("three-chunks", 0, END - 1),), U, "chunk"),
    "a byte more": Case((whole("three-chunks"), b"\0"), U, "chunk"),
    "64 KiB more": Case((whole("short"), bytes(FULL)), U, "chunk"),
    "cut between chunks": Case((HEAD, chunk(0), chunk(1)), U, "chunk"),
    "first chunk dropped": Case((HEAD, chunk(1), chunk(2)), U, "chunk"),
    "middle chunk dropped": Case((HEAD, chunk(0), chunk(2)), U, "chunk"),
    "chunks swapped": Case((HEAD, chunk(1), chunk(0), chunk(2)), U, "chunk"),
    "a chunk twice": Case((HEAD, chunk(0), chunk(0), chunk(2)), U, "chunk"),
    "last chunk first": Case((HEAD, chunk(2), chunk(0), chunk(1)), U, "chunk"),
    "two last chunks": Case(forged([(CHUNK, 0, True), (100, 1, True)]), U, "chunk"),
    "no last chunk": Case(forged([(CHUNK, 0, False), (100, 1, False)]), U, "chunk"),
    "last flag on the first chunk": Case(forged([(CHUNK, 0, True), (100, 1, False)]), U, "chunk"),
    "counters from one": Case(forged([(CHUNK, 1, False), (100, 2, True)]), U, "chunk"),
    "body of another envelope of the same author": Case(
        (("short", 0, S), ("short-again", head_of("short-again"), size_of("short-again"))), U, "chunk"
    ),
    "head of another envelope of the same author": Case(
        (("short-again", 0, head_of("short-again")), ("short", S, size_of("short"))), U, "chunk"
    ),
    "a recipient added": Case(recipient(lambda them: them.append(EMPTY_WRAP) or True), U, "chunk"),
    "a recipient taken away": Case(recipient(lambda them: them.pop()), U, "chunk"),
    "first bit of the body": Case(flipped("short", S), U, "chunk"),
    "last bit of the body": Case(flipped("short", size_of("short") - 1), U, "chunk"),
}
