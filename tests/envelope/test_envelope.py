from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable
from typing import Any

import pytest

from validator.envelope import (
    BadKey,
    Context,
    Keypair,
    Oversized,
    Undecryptable,
    WrongContext,
    generate_keypair,
    open_envelope,
    open_with_dek,
    seal,
    seal_stream,
    unwrap_dek,
)
from validator.envelope.format import MAGIC, MAX_HEADER, Header, Recipient, canonical, read_head
from validator.envelope.keys import derive, key_id, wrap
from validator.envelope.stream import CHUNK, TAG, plaintext_size, seal_chunks

ALICE, MALLORY = "0x" + "a1" * 20, "0x" + "ee" * 20
CONTEXT = Context(31_337, "0x" + "c0" * 20, 2, ALICE)
DAO = generate_keypair()
AUDITOR = generate_keypair()
PLAINTEXT = os.urandom(2 * CHUNK + 100)
SEALED = seal(PLAINTEXT, [DAO.public, AUDITOR.public], CONTEXT)
HEAD = read_head(SEALED)


def opened(data: bytes, keys: Keypair = DAO, expected: Context = CONTEXT, limit: int = len(PLAINTEXT)) -> bytes:
    return open_envelope(data, keys.secret, expected, limit)


def with_header(change: Callable[[dict[str, Any]], None], data: bytes = SEALED) -> bytes:
    """The envelope with an edited header, written canonically."""
    head = read_head(data)
    fields = json.loads(data[len(MAGIC) + 4 : head.size])
    change(fields)
    return with_header_text(canonical(fields), data)


def with_header_text(text: bytes, data: bytes = SEALED) -> bytes:
    return MAGIC + len(text).to_bytes(4, "big") + text + data[read_head(data).size :]


def header_text() -> bytes:
    return SEALED[len(MAGIC) + 4 : HEAD.size]


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 17])
def test_seal__any_size__opens_for_each_recipient(size: int) -> None:
    plaintext = os.urandom(size)

    sealed = seal(plaintext, [DAO.public, AUDITOR.public], CONTEXT)

    assert opened(sealed, DAO, limit=size) == opened(sealed, AUDITOR, limit=size) == plaintext
    assert len(sealed) == read_head(sealed).size + size + TAG * max(-(-size // CHUNK), 1)


def test_seal__twice__shares_no_bytes_of_key_or_body() -> None:
    again = seal(PLAINTEXT, [DAO.public], CONTEXT)

    assert again[-1000:] != SEALED[-1000:]
    assert read_head(again).header.commitment != HEAD.header.commitment


def test_seal_stream__a_source_that_gives_few_bytes_a_read__gives_the_same_plaintext() -> None:
    class Trickle(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(min(size or 1, 1000) if size and size > 0 else size)

    sink = io.BytesIO()
    written = seal_stream(Trickle(PLAINTEXT), sink, [DAO.public], CONTEXT)

    assert written == len(sink.getvalue())
    assert opened(sink.getvalue()) == PLAINTEXT


@pytest.mark.parametrize("recipients", [[], [DAO.public] * 2, [b"short"], [b"\0" * 32], [DAO.public] * 1025])
def test_seal__no_double_or_broken_recipients__is_refused(recipients: list[bytes]) -> None:
    with pytest.raises(BadKey):
        seal(b"", recipients, CONTEXT)


def test_seal__many_recipients__stays_within_the_header_bound() -> None:
    keys = [generate_keypair() for _ in range(50)]

    sealed = seal(b"shared", [one.public for one in keys], CONTEXT)

    assert opened(sealed, keys[-1]) == b"shared"
    assert len(sealed) < 20_000


# Replays: told from the header alone, before any key is touched.


def test_open__sealed_by_somebody_else__is_a_replay_before_any_decryption() -> None:
    expected = Context(CONTEXT.chain_id, CONTEXT.contract, CONTEXT.key_epoch, MALLORY)

    with pytest.raises(WrongContext, match="replay") as caught:
        open_envelope(SEALED[: HEAD.size], b"not even a key", expected, 0)
    assert caught.value.code == "replayed"


def test_open__thief_writes_himself_into_the_header__is_damage() -> None:
    stolen = with_header(lambda fields: fields["context"].update(contributor=MALLORY))

    with pytest.raises(Undecryptable, match="does not open"):
        opened(stolen, expected=Context(CONTEXT.chain_id, CONTEXT.contract, CONTEXT.key_epoch, MALLORY))


@pytest.mark.parametrize(("chain", "contract"), [(1, CONTEXT.contract), (31_337, "0x" + "c1" * 20)])
def test_open__sealed_for_another_chain_or_contract__is_a_replay(chain: int, contract: str) -> None:
    with pytest.raises(WrongContext):
        opened(SEALED, expected=Context(chain, contract, CONTEXT.key_epoch, ALICE))


def test_open__submitted_under_another_key_epoch__is_undecryptable() -> None:
    with pytest.raises(Undecryptable, match="epoch 2, submitted under 3"):
        opened(SEALED, expected=Context(CONTEXT.chain_id, CONTEXT.contract, 3, ALICE))


def test_open__expected_address_in_checksum_case__is_the_same_address() -> None:
    assert opened(SEALED, expected=Context(31_337, "0x" + "C0" * 20, 2, "0x" + "A1" * 20)) == PLAINTEXT


def test_open__wrong_key__is_undecryptable() -> None:
    with pytest.raises(Undecryptable, match="not sealed for this key"):
        opened(SEALED, generate_keypair())


def test_open__wrong_key_under_our_kid__is_undecryptable() -> None:
    stranger = generate_keypair()
    forged = with_header(lambda fields: fields["recipients"][0].update(kid=key_id(stranger.public).hex()))

    with pytest.raises(Undecryptable, match="wrapped key does not open"):
        opened(forged, stranger)


def test_open__more_than_the_limit__is_oversized_before_any_decryption() -> None:
    with pytest.raises(Oversized) as caught:
        open_envelope(SEALED, b"not even a key", CONTEXT, len(PLAINTEXT) - 1)
    assert caught.value.code == "oversized"


def test_open__two_plaintexts_for_two_recipients__dies_at_the_commitment() -> None:
    """What the commitment stops: each validator is shown other data, consensus breaks, and nobody is to blame."""
    honest, other = os.urandom(32), os.urandom(32)
    keys, info = derive(honest, CONTEXT.info()), CONTEXT.info()
    recipients = (
        Recipient(key_id(DAO.public), wrap(honest, DAO.public, info)),
        Recipient(key_id(AUDITOR.public), wrap(other, AUDITOR.public, info)),
    )
    head = Header(CONTEXT, keys.commitment, recipients).encode()
    for_auditor = seal_chunks([b"other"], derive(other, info), hashlib.sha256(head).digest())
    for_dao = seal_chunks([b"honest"], keys, hashlib.sha256(head).digest())

    assert opened(head + b"".join(for_dao)) == b"honest"
    with pytest.raises(Undecryptable, match="commits to"):
        opened(head + b"".join(for_auditor), AUDITOR)


# Damage to the body.

BODY = HEAD.size
FULL = CHUNK + TAG


@pytest.mark.parametrize(
    ("name", "data"),
    {
        "nothing": b"",
        "magic alone": MAGIC,
        "other magic": b"poc-envelope/2\n" + SEALED[15:],
        "magic with a carriage return": SEALED.replace(b"/1\n", b"/1\r", 1),
        "head alone": SEALED[:BODY],
        "cut in the head": SEALED[: BODY - 1],
        "cut in the first tag": SEALED[: BODY + 10],
        "cut at a chunk boundary": SEALED[: BODY + FULL],
        "cut at the second boundary": SEALED[: BODY + 2 * FULL],
        "last byte missing": SEALED[:-1],
        "one byte more": SEALED + b"\0",
        "a tag of nothing appended": SEALED[: BODY + 2 * FULL] + bytes(16),
        "a chunk appended": SEALED + SEALED[BODY : BODY + FULL],
        "chunks swapped": SEALED[:BODY]
        + SEALED[BODY + FULL : BODY + 2 * FULL]
        + SEALED[BODY:][:FULL]
        + SEALED[BODY + 2 * FULL :],
        "a chunk twice": SEALED[: BODY + FULL] + SEALED[BODY : BODY + FULL] + SEALED[BODY + 2 * FULL :],
        "first chunk dropped": SEALED[:BODY] + SEALED[BODY + FULL :],
        "body of another envelope": SEALED[:BODY] + seal(PLAINTEXT, [DAO.public], CONTEXT)[-(len(SEALED) - BODY) :],
        "header longer than the file": MAGIC + b"\x00\x0f\xff\xff" + SEALED[19:],
        "header beyond the bound": MAGIC + b"\x00\x10\x00\x01" + SEALED[19:] + bytes(2 << 20),
        "header of no bytes": MAGIC + b"\0\0\0\0" + SEALED[19:],
        "header length of 4 GiB": MAGIC + b"\xff\xff\xff\xff" + SEALED[19:],
    }.items(),
)
def test_open__damaged_envelope__is_undecryptable_with_one_line(name: str, data: bytes) -> None:
    with pytest.raises(Undecryptable) as caught:
        opened(data, limit=1 << 30)
    assert (caught.value.code, str(caught.value).count("\n")) == ("undecryptable", 0)


def test_open__last_chunk_damaged__releases_no_plaintext() -> None:
    with pytest.raises(Undecryptable, match="chunk 2 of 3") as caught:
        opened(SEALED[:-1] + bytes((SEALED[-1] ^ 1,)))
    assert PLAINTEXT[:32] not in repr(caught.value.__dict__).encode()


# Headers that are not what `encode` writes.


@pytest.mark.parametrize(
    ("name", "text"),
    {
        "white space": header_text().replace(b",", b", ", 1),
        "trailing newline": header_text() + b"\n",
        "keys not sorted": b'{"suite":1,' + header_text()[1:].replace(b',"suite":1', b""),
        "a key twice": header_text()[:-1] + b',"suite":1}',
        "escaped key": header_text().replace(b'"suite"', b'"\\u0073uite"'),
        "suite as float": header_text().replace(b'"suite":1', b'"suite":1.0'),
        "suite as true": header_text().replace(b'"suite":1', b'"suite":true'),
        "suite as text": header_text().replace(b'"suite":1', b'"suite":"1"'),
        "unknown suite": header_text().replace(b'"suite":1', b'"suite":2'),
        "not a number": header_text().replace(b'"suite":1', b'"suite":NaN'),
        "a number of 10,000 digits": header_text().replace(b'"suite":1', b'"suite":' + b"1" * 10_000),
        "deep lists": b"[" * 500_000,
        "deep objects": b'{"a":' * 100_000,
        "a list": b"[]",
        "null": b"null",
        "not utf-8": b"\xff\xfe",
        "utf-16": '{"suite":1}'.encode("utf-16"),
        "a byte order mark": b"\xef\xbb\xbf" + header_text(),
    }.items(),
)
def test_read_head__not_canonical__is_undecryptable(name: str, text: bytes) -> None:
    # The parser itself must refuse: `open_envelope` would, for the tags alone.
    with pytest.raises(Undecryptable):
        read_head(with_header_text(text))


Change = Callable[[dict[str, Any]], None]


def _set(*path: Any, value: Any) -> Change:
    def change(fields: Any) -> None:
        for step in path[:-1]:
            fields = fields[step]
        fields[path[-1]] = value

    return change


RECIPIENT = {"kid": "00" * 16, "wrap": "00" * 80}


@pytest.mark.parametrize(
    ("name", "change"),
    {
        "extra field": _set("extra", value=1),
        "field missing": lambda fields: fields.pop("commitment"),
        "commitment in upper case": lambda fields: fields.update(commitment=fields["commitment"][:-2] + "AA"),
        "commitment short": _set("commitment", value="00" * 31),
        "commitment a number": _set("commitment", value=0),
        "no recipients": _set("recipients", value=[]),
        "recipients an object": _set("recipients", value={}),
        "recipient a text": _set("recipients", value=["x"]),
        "recipient twice": lambda fields: fields["recipients"].append(fields["recipients"][0]),
        "recipient with a name": lambda fields: fields["recipients"][0].update(name="x"),
        "1025 recipients": _set("recipients", value=[{**RECIPIENT, "kid": f"{n:032x}"} for n in range(1025)]),
        "wrap cut": lambda fields: fields["recipients"][0].update(wrap=fields["recipients"][0]["wrap"][:-2]),
        "context a list": _set("context", value=[]),
        "chain id negative": _set("context", "chain_id", value=-1),
        "chain id true": _set("context", "chain_id", value=True),
        "chain id beyond JavaScript": _set("context", "chain_id", value=2**53),
        "epoch zero": _set("context", "key_epoch", value=0),
        "contract without 0x": _set("context", "contract", value="c0" * 20),
        "contract in upper case": _set("context", "contract", value="0x" + "C0" * 20),
        "contributor with odd digits": _set("context", "contributor", value="0x" + "٣" * 40),
    }.items(),
)
def test_read_head__field_out_of_its_bounds__is_undecryptable(name: str, change: Change) -> None:
    with pytest.raises(Undecryptable):
        read_head(with_header(change))


@pytest.mark.parametrize(
    ("name", "change"),
    {
        "commitment of another DEK": _set("commitment", value="00" * 32),
        "wrap of zeros": lambda fields: fields["recipients"][0].update(wrap="00" * 80),
        "a recipient more": lambda fields: fields["recipients"].append(RECIPIENT),
        "a recipient less": lambda fields: fields["recipients"].pop(),
        "recipients in another order": lambda fields: fields["recipients"].reverse(),
    }.items(),
)
def test_open__sound_header_that_is_not_the_sealed_one__is_undecryptable(name: str, change: Change) -> None:
    assert read_head(with_header(change)).header != HEAD.header
    with pytest.raises(Undecryptable):
        opened(with_header(change))


@pytest.mark.parametrize("size", [MAX_HEADER + 1, 2**32 - 1])
def test_read_head__header_beyond_the_bound__is_refused_unread(size: int) -> None:
    text = b" " * (MAX_HEADER + 1)

    with pytest.raises(Undecryptable, match="too long"):
        read_head(MAGIC + size.to_bytes(4, "big") + text)


@pytest.mark.parametrize(("body", "plain"), [(TAG, 0), (TAG + 1, 1), (FULL, CHUNK), (FULL + TAG + 1, CHUNK + 1)])
def test_plaintext_size__of_a_body_that_seal_writes__is_exact(body: int, plain: int) -> None:
    assert plaintext_size(body) == plain


@pytest.mark.parametrize("body", [0, 1, TAG - 1, FULL + 1, FULL + TAG - 1, FULL + TAG, 2 * FULL + TAG])
def test_plaintext_size__of_a_body_that_seal_never_writes__is_refused(body: int) -> None:
    """Also an empty last chunk after full ones: a second encoding of the same plaintext."""
    with pytest.raises(Undecryptable):
        plaintext_size(body)


@pytest.mark.parametrize(
    "arguments",
    [
        (0, CONTEXT.contract, 1, ALICE),
        (True, CONTEXT.contract, 1, ALICE),
        (2**53, CONTEXT.contract, 1, ALICE),
        (1, CONTEXT.contract, 0, ALICE),
        (1, CONTEXT.contract, 2**32, ALICE),
        (1, "0x12", 1, ALICE),
        (1, CONTEXT.contract, 1, None),
    ],
)
def test_context__values_out_of_range__are_refused(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match=r"must be|is 0x"):
        Context(*arguments)


# Grants for auditors.


def test_open_with_dek__granted_dek__opens_and_another_does_not() -> None:
    dek = unwrap_dek(SEALED, DAO.secret, CONTEXT)

    assert open_with_dek(SEALED, dek, CONTEXT, len(PLAINTEXT)) == PLAINTEXT
    for wrong in (os.urandom(32), dek[:-1], b""):
        with pytest.raises(Undecryptable):
            open_with_dek(SEALED, wrong, CONTEXT, len(PLAINTEXT))


def test_unwrap_dek__for_another_contributor__is_a_replay() -> None:
    with pytest.raises(WrongContext):
        unwrap_dek(SEALED, DAO.secret, Context(31_337, CONTEXT.contract, 2, MALLORY))
