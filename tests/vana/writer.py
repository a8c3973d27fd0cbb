"""The two formats, written by us: for tests that need what no client writes, and for those that need no Node.js."""

from __future__ import annotations

import hashlib
import hmac
import os
import zlib
from collections.abc import Callable

from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.padding import PKCS7

Draw = Callable[[int], bytes]
"""Gives so many random bytes."""
SALT = b"saltsalt"
OCTET = 0x60
"""65,536 bytes: a key derivation that costs nothing."""


def packet(tag: int, body: bytes, *, length: int | None = None) -> bytes:
    """A packet in the new format with a length of five octets, true or not."""
    return bytes((0xC0 | tag, 0xFF)) + (len(body) if length is None else length).to_bytes(4, "big") + body


def partial(tag: int, *parts: bytes) -> bytes:
    """A packet in parts; all but the last have a power of two as their size."""
    out = bytes((0xC0 | tag,))
    for part in parts[:-1]:
        out += bytes((0xE0 | (len(part).bit_length() - 1),)) + part
    return out + b"\xff" + len(parts[-1]).to_bytes(4, "big") + parts[-1]


def literal(data: bytes, name: bytes = b"") -> bytes:
    return packet(11, b"b" + bytes((len(name),)) + name + bytes(4) + data)


def compressed(inner: bytes, kind: int = 2) -> bytes:
    maker = zlib.compressobj(9, zlib.DEFLATED, -15 if kind == 1 else 15)
    return packet(8, bytes((kind,)) + maker.compress(inner) + maker.flush())


def stretched(password: bytes, salt: bytes, octet: int) -> bytes:
    """Iterated and salted, the slow clear way."""
    count = (16 + (octet & 15)) << ((octet >> 4) + 6)
    unit = salt + password
    count = max(count, len(unit))
    return hashlib.sha256((unit * (count // len(unit) + 1))[:count]).digest()


def cfb(key: bytes, data: bytes) -> bytes:
    encryptor = Cipher(AES(key), CFB(bytes(16))).encryptor()
    return encryptor.update(data) + encryptor.finalize()


def skesk(session: bytes, password: bytes, *, octet: int = OCTET, head: bytes = b"\x04\x09\x03\x08") -> bytes:
    """A session key for a password."""
    key = stretched(password, SALT, octet) if octet <= 0xE0 else bytes(32)
    return packet(3, head + SALT + bytes((octet,)) + cfb(key, b"\x09" + session))


def seipd_body(session: bytes, packets: bytes, *, digest: bytes | None = None, draw: Draw = os.urandom) -> bytes:
    prefix = draw(16)
    covered = prefix + prefix[-2:] + packets + b"\xd3\x14"
    return b"\x01" + cfb(session, covered + (digest or hashlib.sha1(covered, usedforsecurity=False).digest()))


def seal_packets(packets: bytes, password: bytes, *, draw: Draw = os.urandom) -> bytes:
    """A message around any packets."""
    session = draw(32)
    return skesk(session, password) + packet(18, seipd_body(session, packets, draw=draw))


def seal_file(plain: bytes, password: bytes) -> bytes:
    return seal_packets(literal(plain), password)


def seal_key(
    password: bytes, public: bytes, *, strip: bool = False, ephemeral: int | None = None, draw: Draw = os.urandom
) -> str:
    """As eccrypto writes it; `strip` as its browser build does."""
    mine = ec.derive_private_key(ephemeral or int.from_bytes(draw(31), "big") + 1, ec.SECP256K1())
    shared = mine.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256K1(), public))
    keys = hashlib.sha512(shared.lstrip(b"\0") if strip else shared).digest()
    numbers = mine.public_key().public_numbers()
    point = b"\x04" + numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")
    pad, iv = PKCS7(128).padder(), draw(16)
    encryptor = Cipher(AES(keys[:32]), CBC(iv)).encryptor()
    body = encryptor.update(pad.update(password) + pad.finalize()) + encryptor.finalize()
    covered = iv + point + body
    return (covered + hmac.digest(keys[32:], covered, "sha256")).hex()
