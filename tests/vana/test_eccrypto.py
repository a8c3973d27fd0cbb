"""The reader of granted keys: eccrypto's bytes, with and without leading zeros, and nothing that was tampered with."""

from __future__ import annotations

import json
from random import Random

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.vana.make_golden import GOLDEN
from tests.vana.writer import seal_key
from validator.envelope.eccrypto import MOST_HEX, open_key, open_password, public_key
from validator.envelope.foreign import Unopenable

GOLD = json.loads(GOLDEN.read_text())
SECRET = bytes(range(32, 64))
PASSWORD = b"0x" + b"ab" * 65
GOOD = seal_key(PASSWORD, public_key(SECRET))


def zero_led() -> int:
    """An ephemeral key whose shared x with SECRET begins with a zero byte."""
    mine = ec.derive_private_key(int.from_bytes(SECRET, "big"), ec.SECP256K1())
    for scalar in range(1, 10_000):
        other = ec.derive_private_key(scalar, ec.SECP256K1()).public_key()
        if mine.exchange(ec.ECDH(), other)[0] == 0:
            return scalar
    raise AssertionError("none of ten thousand")


@pytest.mark.parametrize("case", GOLD["cases"], ids=lambda case: case["name"])
def test_open_password__by_the_browser_build__opens(case: dict[str, str]):
    assert open_password(case["key"], bytes.fromhex(GOLD["secret"])).decode() == GOLD["password"]


@pytest.mark.parametrize("strip", [False, True], ids=["padded", "stripped"])
def test_open_key__shared_secret_with_a_leading_zero__opens_in_either_form(strip: bool):
    granted = seal_key(PASSWORD, public_key(SECRET), strip=strip, ephemeral=zero_led())

    assert open_key(granted, SECRET) == PASSWORD


def refused(granted: str, secret: bytes = SECRET) -> str:
    with pytest.raises(Unopenable) as caught:
        open_password(granted, secret)
    return caught.value.reason


def off_the_curve(granted: str) -> str:
    return granted[:34] + "00" * 63 + "01" + granted[162:]


@pytest.mark.parametrize(
    ("granted", "reason"),
    [
        ("", "key-size"),
        ("00" * (MOST_HEX // 2 + 1), "key-size"),
        ("0x" + GOOD, "key-text"),
        (GOOD[:-1], "key-text"),
        (GOOD + "zz", "key-text"),
        (GOOD[:-2], "key-size"),
        (GOOD[:200], "key-size"),
        ("\u0661" * 514, "key-size"),
        (GOOD[:32] + "02" + GOOD[34:], "key-point"),
        (off_the_curve(GOOD), "key-point"),
        (GOOD[:-2] + ("00" if GOOD[-2:] != "00" else "01"), "key-mac"),
        (seal_key(b"not a signature", public_key(SECRET)), "key-content"),
        (seal_key(PASSWORD.upper(), public_key(SECRET)), "key-content"),
        (seal_key(b"", public_key(SECRET)), "key-content"),
        (seal_key(b"\xff" * 132, public_key(SECRET)), "key-content"),
    ],
)
def test_open_password__not_as_it_is_written__is_refused_by_name(granted: str, reason: str):
    assert refused(granted) == reason


def test_open_password__granted_to_somebody_else__does_not_open():
    assert refused(GOOD, bytes(31) + b"\x05") == "key-mac"


def test_open_password__any_bit_changed__is_never_accepted():
    random, raw = Random(4), bytes.fromhex(GOOD)
    for at in random.sample(range(8 * len(raw)), 200):
        damaged = bytearray(raw)
        damaged[at // 8] ^= 1 << (at % 8)
        assert refused(damaged.hex()) in ("key-mac", "key-point")
