"""Envelope v1 once more, from docs/protocol.md alone: X25519, HMAC, SHA-256 and AES-GCM, no HPKE library and nothing of
ours. Slow, clear, and deterministic, since it takes the ephemeral keys and the DEK as arguments; it shows every
intermediate. It makes the test vectors, and has to agree with what it did not make.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MAGIC = b"poc-envelope/1\n"
CHUNK = 65_536
KEM_ID, HPKE_ID = b"KEM\x00\x20", b"HPKE\x00\x20\x00\x01\x00\x02"


def extract(salt: bytes, ikm: bytes) -> bytes:
    return hmac.digest(salt, ikm, "sha256")


def expand(prk: bytes, info: bytes, length: int) -> bytes:
    return hmac.digest(prk, info + b"\x01", "sha256")[:length]


def labeled_extract(suite: bytes, salt: bytes, label: bytes, ikm: bytes) -> bytes:
    return extract(salt, b"HPKE-v1" + suite + label + ikm)


def labeled_expand(suite: bytes, prk: bytes, label: bytes, info: bytes, length: int) -> bytes:
    return expand(prk, length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info, length)


def public(secret: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


def hpke_keys(dh: bytes, enc: bytes, recipient: bytes, info: bytes) -> dict[str, bytes]:
    """RFC 9180, sections 4.1 and 5.1, base mode: everything from the Diffie-Hellman value to key and nonce."""
    eae_prk = labeled_extract(KEM_ID, b"", b"eae_prk", dh)
    shared = labeled_expand(KEM_ID, eae_prk, b"shared_secret", enc + recipient, 32)
    psk_id_hash = labeled_extract(HPKE_ID, b"", b"psk_id_hash", b"")
    context = b"\x00" + psk_id_hash + labeled_extract(HPKE_ID, b"", b"info_hash", info)
    secret = labeled_extract(HPKE_ID, shared, b"secret", b"")
    return {
        "dh": dh,
        "shared_secret": shared,
        "key_schedule_context": context,
        "key_schedule_secret": secret,
        "key": labeled_expand(HPKE_ID, secret, b"key", context, 32),
        "base_nonce": labeled_expand(HPKE_ID, secret, b"base_nonce", context, 12),
    }


def canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii")


def derive(dek: bytes, info: bytes) -> dict[str, bytes]:
    prk = extract(hashlib.sha256(info).digest(), dek)
    return {
        "chunk_key": expand(prk, b"chunk", 32),
        "nonce_prefix": expand(prk, b"nonce", 7),
        "commitment": expand(prk, b"commit", 32),
    }


def kid(key: bytes) -> bytes:
    return hashlib.sha256(b"poc-envelope/1 kid\n" + key).digest()[:16]


def seal(
    plaintext: bytes, recipients: list[bytes], context: dict[str, Any], dek: bytes, ephemerals: list[bytes]
) -> tuple[bytes, dict[str, Any]]:
    """The envelope, and every value on the way to it."""
    info = b"poc-envelope/1 dek\n" + canonical(context)
    keys = derive(dek, info)
    wraps, shown = [], []
    for recipient, ephemeral in zip(recipients, ephemerals, strict=True):
        dh = X25519PrivateKey.from_private_bytes(ephemeral).exchange(X25519PublicKey.from_public_bytes(recipient))
        enc = public(ephemeral)
        steps = hpke_keys(dh, enc, recipient, info)
        wrap = enc + AESGCM(steps["key"]).encrypt(steps["base_nonce"], dek, b"")
        wraps.append({"kid": kid(recipient).hex(), "wrap": wrap.hex()})
        shown.append({"ephemeral": ephemeral, "enc": enc, **steps, "wrap": wrap})
    header = canonical({"commitment": keys["commitment"].hex(), "context": context, "recipients": wraps, "suite": 1})
    head = MAGIC + len(header).to_bytes(4, "big") + header
    aad, pieces = hashlib.sha256(head).digest(), [plaintext[at : at + CHUNK] for at in range(0, len(plaintext), CHUNK)]
    sealed, nonces = [], []
    for counter, piece in enumerate(pieces or [b""]):
        last = counter == max(len(pieces), 1) - 1
        nonces.append(keys["nonce_prefix"] + counter.to_bytes(4, "big") + bytes([last]))
        sealed.append(AESGCM(keys["chunk_key"]).encrypt(nonces[-1], piece, aad))
    steps = {"info": info, "dek": dek, **keys, "header": header, "aad": aad, "nonces": nonces, "recipients": shown}
    return head + b"".join(sealed), steps


def depth(text: bytes) -> int:
    """How deep brackets are nested; those within strings count too, which no header of ours has."""
    deepest = now = 0
    for byte in text:
        now += (byte in b"[{") - (byte in b"]}")
        deepest = max(deepest, now)
    return deepest


def unseal(data: bytes, secret: bytes, context: dict[str, Any]) -> bytes:
    """The plaintext, or an exception of any kind. Checks what a reader must check."""
    assert data[:15] == MAGIC
    length = int.from_bytes(data[15:19], "big")
    assert 1 <= length <= 1 << 20 and 19 + length <= len(data)
    head = data[: 19 + length]
    assert depth(head[19:]) <= 32  # before json.loads, which some library may have let overflow the stack of C
    header = json.loads(head[19:])
    assert canonical(header) == head[19:]
    assert header["suite"] == 1 and type(header["suite"]) is int
    assert header["context"] == context
    info = b"poc-envelope/1 dek\n" + canonical(context)
    mine = public(secret)
    wrap = bytes.fromhex(next(one["wrap"] for one in header["recipients"] if one["kid"] == kid(mine).hex()))
    assert len(wrap) == 80
    dh = X25519PrivateKey.from_private_bytes(secret).exchange(X25519PublicKey.from_public_bytes(wrap[:32]))
    steps = hpke_keys(dh, wrap[:32], mine, info)
    keys = derive(AESGCM(steps["key"]).decrypt(steps["base_nonce"], wrap[32:], b""), info)
    assert keys["commitment"].hex() == header["commitment"]
    body, aad, plain = data[len(head) :], hashlib.sha256(head).digest(), []
    pieces = [body[at : at + CHUNK + 16] for at in range(0, len(body), CHUNK + 16)]
    for counter, piece in enumerate(pieces):
        last = counter == len(pieces) - 1
        nonce = keys["nonce_prefix"] + counter.to_bytes(4, "big") + bytes([last])
        plain.append(AESGCM(keys["chunk_key"]).decrypt(nonce, piece, aad))
    assert pieces and (plain[-1] or len(pieces) == 1)
    return b"".join(plain)
