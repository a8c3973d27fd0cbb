"""Encrypted, addressed data: sealed by a contributor for a key epoch of one DAO, opened by its validators.

HPKE wraps a random key; the body is chunked AES-256-GCM; the header commits to the key and binds chain, contract,
epoch and contributor. The bytes are laid out in `format`.
"""

from __future__ import annotations

from validator.envelope.errors import BadKey, EnvelopeError, Oversized, Undecryptable, WrongContext
from validator.envelope.format import Context
from validator.envelope.keys import (
    Grant,
    Keypair,
    generate_keypair,
    open_backup,
    open_shared,
    public_key,
    seal_backup,
    seal_shared,
    unwrap_secret,
    wrap_secret,
)
from validator.envelope.open import open_envelope, open_with_dek, unwrap_dek
from validator.envelope.seal import seal, seal_stream

__all__ = [
    "BadKey",
    "Context",
    "EnvelopeError",
    "Grant",
    "Keypair",
    "Oversized",
    "Undecryptable",
    "WrongContext",
    "generate_keypair",
    "open_backup",
    "open_envelope",
    "open_shared",
    "open_with_dek",
    "public_key",
    "seal",
    "seal_backup",
    "seal_shared",
    "seal_stream",
    "unwrap_dek",
    "unwrap_secret",
    "wrap_secret",
]
