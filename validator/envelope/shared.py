"""Shared files: the same bytes from everyone who writes them, for holders of one secret, or of one file's keys."""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from validator.envelope.errors import BadKey
from validator.envelope.keys import KEY_BYTES

_NONCE_BYTES, _TAG_BYTES = 12, 16
IV_BYTES = 32


@dataclass(frozen=True, slots=True)
class FileKeys:
    """What opens one shared file, and tells whether another plaintext is the same: what an audit grant hands over.

    `iv` (32 bytes) names the file. `iv_key` is common to all files of one secret and purpose: with it one can check a
    guess at another file's whole content, and no more. `file_key` is this file's own. repr shows neither.
    """

    iv: bytes
    iv_key: bytes
    file_key: bytes

    def __repr__(self) -> str:
        return f"FileKeys(iv={self.iv.hex()})"

    def open(self, sealed: bytes, info: bytes) -> bytes:
        """The plaintext of the file. Raises BadKey."""
        if len(sealed) < IV_BYTES + _TAG_BYTES:
            raise BadKey(f"a shared file of {len(sealed)} bytes is none of ours")
        try:
            plaintext = AESGCM(self.file_key).decrypt(bytes(_NONCE_BYTES), sealed[IV_BYTES:], info)
        except InvalidTag:
            raise BadKey("the shared file does not open with this key") from None
        if not hmac.compare_digest(sealed[:IV_BYTES], hmac.digest(self.iv_key, plaintext, "sha256")):
            raise BadKey("the shared file does not open with this key")
        return plaintext

    def seal(self, plaintext: bytes, info: bytes) -> bytes:
        """The file of `plaintext` if it is this one's. Of another one only the first 32 bytes and the length are right:
        enough to see that it is another file; its key is not ours to know.
        """
        iv = hmac.digest(self.iv_key, plaintext, "sha256")
        if iv != self.iv:
            return iv + bytes(len(plaintext) + _TAG_BYTES)
        return iv + AESGCM(self.file_key).encrypt(bytes(_NONCE_BYTES), plaintext, info)


def seal_shared(secret: bytes, plaintext: bytes, info: bytes) -> bytes:
    """Encrypt so that every holder of `secret` writes the same bytes: 32-byte synthetic IV, then AES-256-GCM.

    The IV is HMAC-SHA256 of the plaintext under its own derived key, and the encryption key is derived from the IV, so
    equal plaintexts give equal files (which is wanted, and all that is leaked) and no key ever meets two plaintexts.
    The manner is that of RFC 5297 (SIV), built from HKDF (RFC 5869) and AES-GCM. Raises BadKey.
    """
    iv = hmac.digest(_shared_key(secret, b"iv", info), plaintext, "sha256")
    return file_keys(secret, iv, info).seal(plaintext, info)


def open_shared(secret: bytes, sealed: bytes, info: bytes) -> bytes:
    """What `seal_shared` sealed under the same secret and info. Raises BadKey."""
    return file_keys(secret, sealed[:IV_BYTES], info).open(sealed, info)


def file_keys(secret: bytes, iv: bytes, info: bytes) -> FileKeys:
    """The keys of the one file that begins with `iv`."""
    return FileKeys(iv, _shared_key(secret, b"iv", info), _shared_key(secret, b"key" + iv, info))


def _shared_key(secret: bytes, label: bytes, info: bytes) -> bytes:
    if len(secret) != KEY_BYTES:
        raise BadKey(f"a secret has {KEY_BYTES} bytes, this one has {len(secret)}")
    return HKDF(hashes.SHA256(), KEY_BYTES, None, b"poc-shared/1\n" + label + b"\n" + info).derive(secret)
