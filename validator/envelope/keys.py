"""Keys of the envelope room: pairs, the HPKE wrap, what is derived from a DEK, grants and backups.

Private keys here are never the wallet's: one key, one purpose. Python cannot erase secrets from memory for certain;
they are kept in few places and for short, no more is promised.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from validator.envelope.errors import BadKey
from validator.envelope.format import (
    COMMITMENT_BYTES,
    HYBRID,
    KID_BYTES,
    MAGIC,
    SUITE,
    WRAP_BYTES,
    address,
    canonical,
)

KEY_BYTES = 32
MAX_BACKUP = 512
"""Bytes of a sealed backup: what `ScoringRounds.commit` carries."""

_ML_KEM_SEED, _ML_KEM_PUBLIC = 64, 1184  # FIPS 203
_PREFIX_BYTES = 7
_NONCE_BYTES = 12
_TAG_BYTES = 16


@dataclass(frozen=True, slots=True)
class Keypair:
    """An X25519 pair (RFC 7748), 32 bytes each. Of the experimental suite 2: the secret is the ML-KEM-768 seed (64
    bytes) and the X25519 secret, the public key both public keys (1,184 and 32 bytes). The secret is not shown by repr.
    """

    secret: bytes
    public: bytes

    def __repr__(self) -> str:
        return f"Keypair(public={self.public.hex()})"


@dataclass(frozen=True, slots=True)
class DerivedKeys:
    """What a DEK is stretched to, by HKDF-SHA256 (RFC 5869), salt = SHA-256 of the context's `info`.

    `chunk_key` (32 bytes, label "chunk"), `nonce_prefix` (7 bytes, label "nonce"), `commitment` (32 bytes, label
    "commit"). AES-GCM does not commit to its key (RFC 9771): without the commitment one ciphertext could open to
    different plaintexts for different recipients, and consensus would break with nobody to blame.
    """

    chunk_key: bytes
    nonce_prefix: bytes
    commitment: bytes

    def __repr__(self) -> str:
        return f"DerivedKeys(commitment={self.commitment.hex()})"


@dataclass(frozen=True, slots=True)
class Grant:
    """To whom and for what an epoch secret is handed over. Bound into the wrap, so a grant cannot be shown elsewhere.

    Raises ValueError for something that is no address.
    """

    chain_id: int
    contract: str
    key_epoch: int
    operator: str

    def __post_init__(self) -> None:
        for name in ("contract", "operator"):
            object.__setattr__(self, name, address(getattr(self, name)))

    def info(self) -> bytes:
        """The HPKE info: "poc-grant/1\\n" and the four fields as canonical JSON."""
        fields = {
            "chain_id": self.chain_id,
            "contract": self.contract,
            "key_epoch": self.key_epoch,
            "operator": self.operator,
        }
        return b"poc-grant/1\n" + canonical(fields)


def generate_keypair() -> Keypair:
    """A new pair from the system's randomness."""
    secret = X25519PrivateKey.generate()
    return Keypair(secret.private_bytes_raw(), secret.public_key().public_bytes_raw())


def generate_hybrid_keypair() -> Keypair:
    """A new pair of the experimental suite 2. Raises BadKey where OpenSSL has no ML-KEM."""
    secret = os.urandom(_ML_KEM_SEED) + X25519PrivateKey.generate().private_bytes_raw()
    return Keypair(secret, public_key(secret, HYBRID))


def public_key(secret: bytes, suite: int = SUITE) -> bytes:
    """The public half of a secret (32 bytes in suite 1, 96 in suite 2). Raises BadKey."""
    if suite == HYBRID:
        kem, curve = _hybrid_parts(secret)
        return kem.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw()
    return _secret(secret).public_key().public_bytes_raw()


def key_id(public: bytes) -> bytes:
    """The `kid` of a public key, 16 bytes."""
    return hashlib.sha256(MAGIC.rstrip() + b" kid\n" + public).digest()[:KID_BYTES]


def wrap(secret: bytes, public: bytes, info: bytes, suite: int = SUITE) -> bytes:
    """HPKE-seal 32 bytes for `public`: 80 bytes in suite 1, 1,168 in suite 2.

    Raises BadKey for a key that is none (wrong length, a small-order point).
    """
    if len(secret) != KEY_BYTES:
        raise BadKey(f"only secrets of {KEY_BYTES} bytes are wrapped, not of {len(secret)}")
    try:
        if suite == HYBRID:
            return _suite(suite).encrypt(secret, _hybrid_public(public), info=info)
        return _suite(suite).encrypt(secret, X25519PublicKey.from_public_bytes(public), info=info)
    except ValueError:
        kind = "an ML-KEM-768 and X25519" if suite == HYBRID else "an X25519"
        raise BadKey(f"this is not {kind} public key: ask its owner for the right one") from None


def unwrap(wrapped: bytes, secret: bytes, info: bytes, suite: int = SUITE) -> bytes | None:
    """The 32 bytes sealed by `wrap`, or None when they do not open with this key and info."""
    if len(wrapped) != WRAP_BYTES[suite]:
        return None
    key = hpke.MLKEM768X25519PrivateKey(*_hybrid_parts(secret)) if suite == HYBRID else _secret(secret)
    try:
        return _suite(suite).decrypt(wrapped, key, info=info)
    except InvalidTag:
        return None


def derive(dek: bytes, info: bytes) -> DerivedKeys:
    """Stretch a 32-byte DEK under a context."""
    salt = hashlib.sha256(info).digest()

    def one(label: bytes, size: int) -> bytes:
        return HKDF(hashes.SHA256(), size, salt, label).derive(dek)

    return DerivedKeys(one(b"chunk", KEY_BYTES), one(b"nonce", _PREFIX_BYTES), one(b"commit", COMMITMENT_BYTES))


def wrap_secret(epoch_secret: bytes, operator_key: bytes, grant: Grant) -> bytes:
    """Hand the secret of a key epoch to a validator's HPKE key: 80 bytes for `DataDAO.grantKey`. Raises BadKey."""
    return wrap(epoch_secret, operator_key, grant.info())


def unwrap_secret(wrapped: bytes, operator_secret: bytes, grant: Grant, epoch_key: bytes) -> bytes:
    """Open a grant, and check that it holds the secret of `epoch_key`, the public key on chain. Raises BadKey."""
    secret = unwrap(wrapped, operator_secret, grant.info())
    if secret is None:
        raise BadKey(
            f"the grant of key epoch {grant.key_epoch} does not open with this key: ask the DAO to grant it again"
        )
    if len(secret) != KEY_BYTES or public_key(secret) != epoch_key:
        raise BadKey(f"the grant of key epoch {grant.key_epoch} holds another key than the chain shows: tell the DAO")
    return secret


def seal_backup(secret: bytes, plaintext: bytes, info: bytes) -> bytes:
    """Encrypt a note to ourselves: 12-byte random nonce, AES-256-GCM, 28 bytes longer than the plaintext.

    The key is HKDF-SHA256 of our 32-byte secret; `info` is authenticated and says which note it is (round, attempt).
    Raises BadKey when the result would exceed MAX_BACKUP bytes.
    """
    if len(plaintext) + _NONCE_BYTES + _TAG_BYTES > MAX_BACKUP:
        raise BadKey(f"a backup of {len(plaintext)} bytes does not fit into the {MAX_BACKUP} that a commit carries")
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + AESGCM(_backup_key(secret)).encrypt(nonce, plaintext, info)


def open_backup(secret: bytes, sealed: bytes, info: bytes) -> bytes:
    """What `seal_backup` sealed under the same secret and info. Raises BadKey."""
    if not _NONCE_BYTES + _TAG_BYTES <= len(sealed) <= MAX_BACKUP:
        raise BadKey(f"a backup of {len(sealed)} bytes is none of ours")
    try:
        return AESGCM(_backup_key(secret)).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], info)
    except InvalidTag:
        raise BadKey(
            "the backup does not open with this key: it was made by another key or for another round"
        ) from None


def _backup_key(secret: bytes) -> bytes:
    if len(secret) != KEY_BYTES:
        raise BadKey(f"a secret has {KEY_BYTES} bytes, this one has {len(secret)}")
    return HKDF(hashes.SHA256(), KEY_BYTES, None, b"poc-backup/1").derive(secret)


def _secret(secret: bytes) -> X25519PrivateKey:
    try:
        return X25519PrivateKey.from_private_bytes(secret)
    except ValueError:
        raise BadKey(f"a secret has {KEY_BYTES} bytes, this one has {len(secret)}") from None


def _hybrid_parts(secret: bytes) -> tuple[MLKEM768PrivateKey, X25519PrivateKey]:
    if len(secret) != _ML_KEM_SEED + KEY_BYTES:
        raise BadKey(f"a secret of suite 2 has {_ML_KEM_SEED + KEY_BYTES} bytes, this one has {len(secret)}")
    try:
        return MLKEM768PrivateKey.from_seed_bytes(secret[:_ML_KEM_SEED]), _secret(secret[_ML_KEM_SEED:])
    except UnsupportedAlgorithm:
        raise BadKey("the OpenSSL of this machine has no ML-KEM: suite 2 cannot be used here") from None


def _hybrid_public(public: bytes) -> hpke.MLKEM768X25519PublicKey:
    kem = MLKEM768PublicKey.from_public_bytes(public[:_ML_KEM_PUBLIC])
    return hpke.MLKEM768X25519PublicKey(kem, X25519PublicKey.from_public_bytes(public[_ML_KEM_PUBLIC:]))


def _suite(suite: int) -> hpke.Suite:
    kem = hpke.KEM.MLKEM768_X25519 if suite == HYBRID else hpke.KEM.X25519
    return hpke.Suite(kem, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
