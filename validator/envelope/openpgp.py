"""OpenPGP as Vana's web client writes it (openpgp.js 5 and 6, binary, encrypted to one password), and nothing else.

    SKESK  v4   tag 3    AES-256, S2K 3 (iterated and salted) over SHA-256; with or without an encrypted session key
    SEIPD  v1   tag 18   AES-256 in CFB: 16 random bytes, the last two of them again, packets, and the MDC
      [compressed  tag 8   ZIP or ZLIB, once]
      literal      tag 11

The MDC (SHA-1, tag 19) stands at the end and covers all before it, so nothing of the plaintext is looked at before it:
no check bytes, no decompression, no packet. Everything is bounded: the message is in memory already, the password is
hashed at most MOST_HASHED bytes long, decompression stops one byte beyond the limit, and there is one level of nesting.

Sources: RFC 9580 (and RFC 4880, whose formats these are). Modern formats (SEIPD v2, AEAD) are refused by name.
"""

from __future__ import annotations

import hashlib
import hmac
import zlib
from dataclasses import dataclass

from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from validator.envelope.foreign import Unopenable

MOST_HASHED = 16_777_216
"""Bytes that the password may be stretched to: what openpgp.js writes (count octet 224)."""
OVERHEAD = 4096
"""Bytes by which a compressed packet may exceed the data within: headers, a file name, lengths of parts."""

_SKESK, _COMPRESSED, _SEIPD, _LITERAL = 3, 8, 18, 11
_AES256, _SHA256, _ITERATED = 9, 8, 3
_KEY, _BLOCK, _SALT = 32, 16, 8
_MDC = b"\xd3\x14"
_DIGEST = 20
_ZIP, _ZLIB = 1, 2


@dataclass(frozen=True, slots=True)
class _Packet:
    tag: int
    body: bytes


def open_message(message: bytes, password: bytes, limit: int) -> bytes:
    """The plaintext of `message`, at most `limit` bytes, if `password` opens it and it is whole. Raises Unopenable."""
    if message.startswith(b"-----BEGIN"):
        raise Unopenable("armour", "an armoured message: only binary ones are written by Vana's client")
    skesk, seipd = _outer(message)
    key = _session_key(skesk, password)
    return _content(_decrypted(seipd, key), limit)


# Packets (RFC 9580, section 4.2)


def _outer(message: bytes) -> tuple[bytes, bytes]:
    """The bodies of the two packets of a message, and no third."""
    first, rest = _packet(memoryview(message))
    if first.tag != _SKESK:
        raise Unopenable("order", f"a message for a password begins with packet 3, this one with {first.tag}")
    second, rest = _packet(rest)
    if second.tag == _SKESK:
        raise Unopenable("order", "a message for several passwords: one is written by Vana's client")
    if second.tag != _SEIPD:
        raise Unopenable("order", f"packet {second.tag} where the encrypted data (18) should be")
    if rest:
        raise Unopenable("order", f"{len(rest)} bytes behind the encrypted data")
    return first.body, second.body


def _packet(data: memoryview) -> tuple[_Packet, memoryview]:
    """The first packet of `data` in the new format, its parts put together, and what follows."""
    if not data:
        raise Unopenable("packet", "the message is cut: a packet is missing")
    if data[0] & 0xC0 != 0xC0:
        raise Unopenable("packet", "not an OpenPGP packet in the new format")
    tag, rest, parts = data[0] & 0x3F, data[1:], bytearray()
    while True:
        size, used, partial = _length(rest)
        if used + size > len(rest):
            raise Unopenable("length", f"packet {tag} declares {size} bytes, {len(rest) - used} are there")
        if partial and not parts and size < 512:
            raise Unopenable("length", f"packet {tag} begins with a part of {size} bytes: at least 512 are required")
        parts += rest[used : used + size]
        rest = rest[used + size :]
        if not partial:
            return _Packet(tag, bytes(parts)), rest


def _length(data: memoryview) -> tuple[int, int, bool]:
    """(length, bytes it takes, whether more parts follow)."""
    if not data:
        raise Unopenable("length", "the message is cut within a packet's header")
    first = data[0]
    if first < 192:
        return first, 1, False
    if first < 224 and len(data) >= 2:
        return ((first - 192) << 8) + data[1] + 192, 2, False
    if first == 255 and len(data) >= 5:
        return int.from_bytes(data[1:5], "big"), 5, False
    if 224 <= first < 255:
        return 1 << (first & 0x1F), 1, True
    raise Unopenable("length", "the message is cut within a packet's header")


# From the password to the session key (sections 3.7.1.3 and 5.3)


def _session_key(skesk: bytes, password: bytes) -> bytes:
    if skesk[:1] != b"\x04":
        version = skesk[0] if skesk else "nothing"
        raise Unopenable("session-key", f"a session key packet of version {version}: 4 is written by Vana's client")
    if len(skesk) not in (13, 13 + 1 + _KEY):
        raise Unopenable("session-key", f"a session key packet of {len(skesk)} bytes: 13 or 46 are expected")
    cipher, kind, hashed = skesk[1], skesk[2], skesk[3]
    if cipher != _AES256:
        raise Unopenable("cipher", f"cipher {cipher}: only AES-256 (9) is read")
    if (kind, hashed) != (_ITERATED, _SHA256):
        raise Unopenable("s2k", f"key derivation {kind} over hash {hashed}: only 3 (iterated) over 8 (SHA-256) is read")
    key = _stretched(password, skesk[4:12], skesk[12])
    if len(skesk) == 13:
        return key
    opened = _cfb(key, skesk[13:])
    if opened[0] != _AES256:
        raise Unopenable("password", "the password does not open the session key")
    return opened[1:]


def _stretched(password: bytes, salt: bytes, octet: int) -> bytes:
    """SHA-256 over salt and password, again and again, `count` bytes in all and at least once whole."""
    count = (16 + (octet & 15)) << ((octet >> 4) + 6)
    if count > MOST_HASHED:
        raise Unopenable("s2k-count", f"the password would be hashed {count} bytes long: at most {MOST_HASHED}")
    unit = salt + password
    count = max(count, len(unit))
    digest, block = hashlib.sha256(), unit * (65_536 // len(unit) + 1)
    whole, rest = divmod(count, len(block))
    for _ in range(whole):
        digest.update(block)
    digest.update(block[:rest])
    return digest.digest()


# Encrypted data and its integrity (section 5.13.1)


def _decrypted(seipd: bytes, key: bytes) -> memoryview:
    """The packets within, once the MDC has proven all of them."""
    if seipd[:1] != b"\x01":
        version = seipd[0] if seipd else "nothing"
        raise Unopenable("cipher", f"encrypted data of version {version}: only 1 (CFB and MDC) is read")
    if len(seipd) < 1 + _BLOCK + 2 + 2 + _DIGEST:
        raise Unopenable("length", f"encrypted data of {len(seipd)} bytes: too short to hold anything")
    plain = _cfb(key, memoryview(seipd)[1:])
    covered, digest = plain[:-_DIGEST], plain[-_DIGEST:]
    proven = hmac.compare_digest(hashlib.sha1(covered, usedforsecurity=False).digest(), digest)
    if not proven or not covered.endswith(_MDC):
        raise Unopenable("mdc", "the integrity check fails: another password, or the file was changed or cut")
    if covered[_BLOCK : _BLOCK + 2] != covered[_BLOCK - 2 : _BLOCK]:
        raise Unopenable("mdc", "the prefix of the encrypted data does not repeat itself")
    return memoryview(covered)[_BLOCK + 2 : -len(_MDC)]


def _cfb(key: bytes, data: bytes | memoryview) -> bytes:
    decryptor = Cipher(AES(key), CFB(bytes(_BLOCK))).decryptor()
    return decryptor.update(data) + decryptor.finalize()


# What is inside (sections 5.6 and 5.9)


def _content(packets: memoryview, limit: int) -> bytes:
    packet = _only(packets)
    if packet.tag == _COMPRESSED:
        packet = _only(memoryview(_inflated(packet.body, limit + OVERHEAD)))
        if packet.tag == _COMPRESSED:
            raise Unopenable("nesting", "compressed data within compressed data")
    if packet.tag != _LITERAL:
        raise Unopenable("nesting", f"packet {packet.tag} where literal data (11) should be")
    return _literal(packet.body, limit)


def _only(packets: memoryview) -> _Packet:
    packet, rest = _packet(packets)
    if rest:
        raise Unopenable("nesting", f"{len(rest)} bytes behind packet {packet.tag}: one packet is written")
    return packet


def _inflated(body: bytes, limit: int) -> bytes:
    kind = body[0] if body else 0
    if kind not in (_ZIP, _ZLIB):
        raise Unopenable("compression", f"compression {kind}: only 1 (ZIP) and 2 (ZLIB) are read")
    stream = zlib.decompressobj(-15 if kind == _ZIP else 15)
    try:
        plain = stream.decompress(memoryview(body)[1:], limit + 1)
    except zlib.error as error:
        raise Unopenable("compression", f"the compressed data is damaged: {error}") from None
    if len(plain) > limit:
        raise Unopenable("oversized", f"the file expands to more than {limit} bytes")
    if not stream.eof or stream.unused_data:
        raise Unopenable("compression", "the compressed data is cut, or something follows it")
    return plain


def _literal(body: bytes, limit: int) -> bytes:
    """The data behind format, file name and date, which say nothing that is wanted."""
    start = 2 + (body[1] if len(body) > 1 else 0) + 4
    if len(body) < start:
        raise Unopenable("length", "a literal packet that is cut within its header")
    size = len(body) - start
    if size > limit:
        raise Unopenable("oversized", f"the file holds {size} bytes: at most {limit} are allowed")
    return body[start:]
