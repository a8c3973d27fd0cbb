"""Content identifiers: CIDv1, sha2-256, raw or dag-pb; nothing else.

Sources: https://github.com/multiformats/cid, multibase (base32 lower case `b`, base58btc `z`), RFC 4648 section 6.
A CIDv0 (`Qm...`) is read as the dag-pb CID that it abbreviates. A CID names *bytes of blocks*, not content: the same
file has other CIDs under other chunk sizes.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from typing import Literal

from validator.content.errors import BadCid

Codec = Literal["raw", "dag-pb"]

DIGEST_BYTES = 32
_MULTIHASH = b"\x12\x20"  # sha2-256, 32 bytes. Identity hashes are refused: they smuggle unbounded inline data.
_CODES: dict[Codec, int] = {"raw": 0x55, "dag-pb": 0x70}
_CODECS: dict[int, Codec] = {code: codec for codec, code in _CODES.items()}
_CHAIN: tuple[Codec, ...] = ("raw", "dag-pb")  # the codec byte of ContributionRegistry
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_TEXT = re.compile(r"Qm[1-9A-HJ-NP-Za-km-z]{44}|b[a-z2-7]{58}|z[1-9A-HJ-NP-Za-km-z]{45,63}", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class Cid:
    """A version 1 CID over sha2-256. `str()` is the canonical base32 text, 59 characters."""

    codec: Codec
    digest: bytes

    def __post_init__(self) -> None:
        if self.codec not in _CODES:
            raise BadCid(f"codec {self.codec!r} is not supported: use raw or dag-pb")
        if len(self.digest) != DIGEST_BYTES:
            raise BadCid(f"a digest has {DIGEST_BYTES} bytes, this one has {len(self.digest)}")

    def __str__(self) -> str:
        return "b" + base64.b32encode(bytes(self)).decode("ascii").lower().rstrip("=")

    def __bytes__(self) -> bytes:
        """The 36 bytes of a binary CIDv1, as they stand in dag-pb links."""
        return bytes((1, _CODES[self.codec])) + _MULTIHASH + self.digest

    @property
    def codec_byte(self) -> int:
        """The codec as the chain stores it: 0 raw, 1 dag-pb."""
        return _CHAIN.index(self.codec)

    @classmethod
    def of(cls, codec: Codec, data: bytes) -> Cid:
        """The CID of one block."""
        return cls(codec, hashlib.sha256(data).digest())

    @classmethod
    def from_chain(cls, digest: bytes, codec_byte: int) -> Cid:
        """The CID that a contribution names on chain. Raises BadCid for a codec byte other than 0 and 1."""
        if codec_byte not in (0, 1):
            raise BadCid(f"codec byte {codec_byte} is unknown: 0 is raw, 1 is dag-pb")
        return cls(_CHAIN[codec_byte], bytes(digest))

    @classmethod
    def from_bytes(cls, data: bytes) -> Cid:
        """A binary CID as it stands in a dag-pb link: 36 bytes (version 1) or 34 (version 0). Raises BadCid."""
        if len(data) == 34 and data.startswith(_MULTIHASH):
            return cls("dag-pb", data[2:])
        if len(data) != 36 or data[0] != 1 or data[1] not in _CODECS or data[2:4] != _MULTIHASH:
            raise BadCid("a binary CID that is not sha2-256 over raw or dag-pb")
        return cls(_CODECS[data[1]], data[4:])

    @classmethod
    def parse(cls, text: str) -> Cid:
        """Read `b...`, `z...` or `Qm...`. Raises BadCid, also for text that is not the canonical form of its CID."""
        if not _TEXT.fullmatch(text):
            raise BadCid("not a CID: expected Qm..., b... or z..., 46 to 64 characters of its alphabet")
        if text.startswith("b"):
            cid = cls.from_bytes(base64.b32decode(text[1:].upper() + "=" * (-len(text[1:]) % 8)))
            canonical = str(cid)
        else:
            raw = _from_base58(text[1:] if text.startswith("z") else text)
            cid = cls.from_bytes(raw)
            canonical = ("z" if text.startswith("z") else "") + _to_base58(raw)
            if text.startswith("z") != (len(raw) == 36):
                raise BadCid("not a CID: version 0 has no multibase prefix, version 1 needs one")
        if canonical != text:
            raise BadCid("not a CID in canonical form: unused bits are set")
        return cid


def _from_base58(text: str) -> bytes:
    """Base58btc, at most 64 characters: the caller's pattern bounds the quadratic conversion."""
    number = 0
    for letter in text:
        number = number * 58 + _BASE58.index(letter)
    zeros = len(text) - len(text.lstrip("1"))
    return b"\0" * zeros + number.to_bytes((number.bit_length() + 7) // 8, "big")


def _to_base58(data: bytes) -> str:
    number, letters = int.from_bytes(data, "big"), ""
    while number:
        number, rest = divmod(number, 58)
        letters = _BASE58[rest] + letters
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + letters
