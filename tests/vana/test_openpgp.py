"""The reader of OpenPGP files: what Vana's web client writes is read, and everything else is refused by name."""

from __future__ import annotations

import json
import time
import tracemalloc
from collections.abc import Callable
from random import Random

import pytest

from tests.vana.make_golden import GOLDEN
from tests.vana.writer import (
    SALT,
    compressed,
    literal,
    packet,
    partial,
    seal_file,
    seal_packets,
    seipd_body,
    skesk,
    stretched,
)
from validator.envelope.foreign import Unopenable
from validator.envelope.openpgp import MOST_HASHED, open_message

PASSWORD = b"0x" + b"ab" * 65
GOLD = json.loads(GOLDEN.read_text())
SESSION = bytes(32)
LIMIT = 1 << 20


@pytest.mark.parametrize("case", GOLD["cases"], ids=lambda case: case["name"])
def test_open__by_the_web_client__gives_its_plaintext(case: dict[str, str]):
    message, plain = bytes.fromhex(case["file"]), bytes.fromhex(case["plain"])

    assert open_message(message, GOLD["password"].encode(), len(plain)) == plain


@pytest.mark.parametrize(
    "wrap",
    [
        lambda inner: inner,
        lambda inner: compressed(inner, 1),
        lambda inner: compressed(inner, 2),
    ],
    ids=["plain", "zip", "zlib"],
)
def test_open__our_own_writer__gives_back_what_was_sealed(wrap: Callable[[bytes], bytes]):
    data = Random(1).randbytes(5000)

    assert open_message(seal_packets(wrap(literal(data, b"name")), PASSWORD), PASSWORD, 5000) == data


def test_open__in_parts__puts_them_together():
    data = Random(2).randbytes(3000)
    inner = b"b\0" + bytes(4) + data
    body = seipd_body(SESSION, partial(11, inner[:1024], inner[1024:2048], inner[2048:]))

    message = skesk(SESSION, PASSWORD) + partial(18, body[:512], body[512:1024], body[1024:])

    assert open_message(message, PASSWORD, 3000) == data


def test_open__session_key_straight_from_the_password__is_read():
    head = b"\x04\x09\x03\x08" + SALT + b"\x60"
    session = stretched(PASSWORD, SALT, 0x60)

    message = packet(3, head) + packet(18, seipd_body(session, literal(b"data")))

    assert open_message(message, PASSWORD, 4) == b"data"


def refused(message: bytes, limit: int = LIMIT, words: bytes = PASSWORD) -> str:
    with pytest.raises(Unopenable) as caught:
        open_message(message, words, limit)
    assert "\n" not in str(caught.value)
    return caught.value.reason


GOOD = seal_file(b"data", PASSWORD)
BODY = seipd_body(SESSION, literal(b"data"))
KEY = skesk(SESSION, PASSWORD)
REFUSALS = {
    "nothing": (b"", "packet"),
    "armoured": (b"-----BEGIN PGP MESSAGE-----\n", "armour"),
    "old format": (b"\x8c" + GOOD[1:], "packet"),
    "cut in a header": (KEY + b"\xd2", "length"),
    "cut in a long header": (KEY + b"\xd2\xff\0\0", "length"),
    "cut in the data": (GOOD[:-1], "length"),
    "a length of 4 GiB": (KEY + packet(18, BODY, length=2**32 - 1), "length"),
    "a first part of 1 GiB": (KEY + b"\xd2\xfe" + BODY, "length"),
    "a first part of one byte": (KEY + b"\xd2\xe0\x01\x05abcde", "length"),
    "no key": (packet(18, BODY), "order"),
    "two keys": (KEY + KEY + packet(18, BODY), "order"),
    "a public-key packet": (packet(1, b"\x03"), "order"),
    "something behind": (GOOD + packet(11, b""), "order"),
    "literal data in the clear": (KEY + literal(b"data"), "order"),
    "empty key packet": (packet(3, b"") + packet(18, BODY), "session-key"),
    "key packet version 6": (packet(3, b"\x06" + bytes(45)) + packet(18, BODY), "session-key"),
    "key packet of another size": (packet(3, b"\x04\x09\x03\x08" + bytes(20)) + packet(18, BODY), "session-key"),
    "AES-128": (skesk(SESSION, PASSWORD, head=b"\x04\x07\x03\x08") + packet(18, BODY), "cipher"),
    "S2K simple": (skesk(SESSION, PASSWORD, head=b"\x04\x09\x00\x08") + packet(18, BODY), "s2k"),
    "S2K Argon2": (skesk(SESSION, PASSWORD, head=b"\x04\x09\x04\x08") + packet(18, BODY), "s2k"),
    "S2K over SHA-1": (skesk(SESSION, PASSWORD, head=b"\x04\x09\x03\x02") + packet(18, BODY), "s2k"),
    "SEIPD version 2": (KEY + packet(18, b"\x02" + BODY[1:]), "cipher"),
    "SEIPD empty": (KEY + packet(18, b""), "cipher"),
    "SEIPD too short": (KEY + packet(18, b"\x01" + bytes(20)), "length"),
    "no MDC packet": (KEY + packet(18, seipd_body(SESSION, literal(b"data"), digest=bytes(20))), "mdc"),
    "BZip2": (seal_packets(packet(8, b"\x03BZh9"), PASSWORD), "compression"),
    "uncompressed compression": (seal_packets(packet(8, b"\x00" + literal(b"x")), PASSWORD), "compression"),
    "damaged zlib": (seal_packets(packet(8, b"\x02nonsense"), PASSWORD), "compression"),
    "cut zlib": (seal_packets(packet(8, compressed(literal(bytes(999)))[6:-4]), PASSWORD), "compression"),
    "zlib twice": (seal_packets(compressed(compressed(literal(b"x"))), PASSWORD), "nesting"),
    "a signature inside": (seal_packets(packet(4, bytes(13)) + literal(b"x"), PASSWORD), "nesting"),
    "two literals": (seal_packets(literal(b"x") + literal(b"y"), PASSWORD), "nesting"),
    "encrypted again": (seal_packets(packet(18, BODY), PASSWORD), "nesting"),
    "nothing inside": (seal_packets(b"", PASSWORD), "packet"),
    "a literal without data": (seal_packets(packet(11, b"b"), PASSWORD), "length"),
    "a file name beyond the end": (seal_packets(packet(11, b"b\xffname"), PASSWORD), "length"),
}


@pytest.mark.parametrize(("message", "reason"), REFUSALS.values(), ids=REFUSALS)
def test_open__not_as_it_is_written__is_refused_by_name(message: bytes, reason: str):
    assert refused(message) == reason


def test_open__another_password__is_refused_without_plaintext():
    assert refused(GOOD, words=b"0x" + b"cd" * 65) in ("password", "mdc")


def test_open__one_byte_changed_anywhere__is_never_accepted():
    for at in range(len(GOOD)):
        damaged = bytearray(GOOD)
        damaged[at] ^= 1
        assert refused(bytes(damaged))


def test_open__mutations__are_all_refused_with_a_reason():
    random = Random(3)
    for _ in range(400):
        damaged = bytearray(GOOD)
        for _ in range(random.randint(1, 4)):
            at = random.randrange(len(damaged))
            damaged[at : at + random.randint(0, 3)] = random.randbytes(random.randint(0, 3))
        if bytes(damaged) != GOOD:
            assert refused(bytes(damaged))


def test_open__larger_than_the_limit__is_oversized():
    assert refused(GOOD, limit=3) == "oversized"
    assert open_message(GOOD, PASSWORD, 4) == b"data"


def test_open__compression_bomb__stops_at_the_limit():
    bomb = seal_packets(compressed(literal(bytes(200 << 20))), PASSWORD)
    assert len(bomb) < 300_000
    tracemalloc.start()

    assert refused(bomb, limit=LIMIT) == "oversized"

    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


def test_open__key_derivation_of_the_largest_count__is_refused_before_it_is_done():
    message = skesk(SESSION, PASSWORD, octet=0xFF) + packet(18, BODY)
    started = time.process_time()

    assert refused(message) == "s2k-count"

    assert time.process_time() - started < 0.05


def test_open__as_much_hashing_as_the_client_asks_for__is_done():
    assert MOST_HASHED == 16 << 20
    message = skesk(SESSION, PASSWORD, octet=0xE0) + packet(18, BODY)

    assert open_message(message, PASSWORD, 4) == b"data"


def test_open__ten_thousand_packets_nested_by_lengths__end_at_once():
    inner = literal(b"x")
    for _ in range(10_000):
        inner = packet(8, b"\x02" + inner[-64:])

    assert refused(seal_packets(inner, PASSWORD)) == "compression"
