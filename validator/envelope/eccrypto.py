"""ECIES as npm's `eccrypto` writes it: how Vana hands the key of a file to an account.

    hex( iv 16 | ephemeral public key 65, 0x04... | AES-256-CBC ciphertext, PKCS#7 | HMAC-SHA256 32 )
    SHA-512(x of ECDH over secp256k1) = 32 bytes for AES | 32 bytes for the MAC; the MAC covers iv, key and ciphertext

eccrypto's browser build hashes x without its leading zero bytes, so that one message in 256 opens only with the
stripped form: both are tried, and the MAC says which. Not compatible with `eciespy`, despite the name.
"""

from __future__ import annotations

import hashlib
import hmac
import re

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.padding import PKCS7

from validator.envelope.foreign import Unopenable

MOST_HEX = 2048
"""Characters of a granted key: a signature makes 514."""

_IV, _POINT, _MAC, _BLOCK = 16, 65, 32, 16
_HEX = re.compile(r"[0-9a-fA-F]+", re.ASCII)
_SIGNATURE = re.compile(r"0x[0-9a-f]{130}", re.ASCII)


def open_key(granted: str, secret: bytes) -> bytes:
    """The bytes that were encrypted to the public key of `secret` (32 bytes). Raises Unopenable."""
    if not granted.isascii() or not 0 < len(granted) <= MOST_HEX:
        raise Unopenable("key-size", f"a granted key of {len(granted)} characters: 1 to {MOST_HEX} are allowed")
    if not _HEX.fullmatch(granted) or len(granted) % 2:
        raise Unopenable("key-text", "a granted key is written in hex digits, without 0x")
    data = bytes.fromhex(granted)
    body = len(data) - _IV - _POINT - _MAC
    if body < _BLOCK or body % _BLOCK:
        raise Unopenable("key-size", f"a granted key of {len(data)} bytes does not have the parts that it should")
    covered, mac = data[:-_MAC], data[-_MAC:]
    iv, point, ciphertext = covered[:_IV], covered[_IV : _IV + _POINT], covered[_IV + _POINT :]
    for shared in _forms(_shared(point, secret)):
        keys = hashlib.sha512(shared).digest()
        if hmac.compare_digest(hmac.digest(keys[32:], covered, "sha256"), mac):
            return _decrypted(keys[:32], iv, ciphertext)
    raise Unopenable("key-mac", "the granted key does not open: it was encrypted to another account, or changed")


def open_password(granted: str, secret: bytes) -> bytes:
    """The password of a file: a wallet's signature as text, 0x and 130 hex digits. Raises Unopenable."""
    opened = open_key(granted, secret)
    try:
        text = opened.decode("ascii")
    except UnicodeDecodeError:
        text = ""
    if not _SIGNATURE.fullmatch(text):
        raise Unopenable("key-content", "what was granted is not a signature: 0x and 130 hex digits are expected")
    return opened


def public_key(secret: bytes) -> bytes:
    """The uncompressed public key, 65 bytes: what others encrypt to."""
    numbers = _private(secret).public_key().public_numbers()
    return b"\x04" + numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")


def _forms(x: bytes) -> tuple[bytes, ...]:
    stripped = x.lstrip(b"\0")
    return (x,) if stripped == x else (x, stripped)


def _shared(point: bytes, secret: bytes) -> bytes:
    """The x coordinate, 32 bytes."""
    if point[0] != 4:
        raise Unopenable("key-point", "the ephemeral public key is not an uncompressed point")
    try:
        public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256K1(), point)
        return _private(secret).exchange(ec.ECDH(), public)
    except ValueError:
        raise Unopenable("key-point", "the ephemeral public key is not on the curve") from None


def _private(secret: bytes) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(secret, "big"), ec.SECP256K1())


def _decrypted(key: bytes, iv: bytes, ciphertext: bytes) -> bytes:
    decryptor, unpad = Cipher(AES(key), CBC(iv)).decryptor(), PKCS7(8 * _BLOCK).unpadder()
    padded = decryptor.update(ciphertext) + decryptor.finalize()
    try:
        return unpad.update(padded) + unpad.finalize()
    except ValueError:
        raise Unopenable("key-padding", "the granted key is authentic, but its padding is not PKCS#7") from None
