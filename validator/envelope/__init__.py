"""Encrypted, addressed data: sealed by a contributor for a key epoch of one DAO, opened by its validators.

HPKE wraps a random key; the body is chunked AES-256-GCM; the header commits to the key and binds chain, contract,
epoch and contributor. The bytes are laid out in `format`.
"""

from __future__ import annotations

from validator.envelope.errors import BadKey, EnvelopeError, Oversized, Undecryptable, WrongContext
from validator.envelope.format import FIXED, Context, Head, header_length, read_head
from validator.envelope.keys import (
    Grant,
    Keypair,
    generate_keypair,
    key_id,
    open_backup,
    public_key,
    seal_backup,
    unwrap_secret,
    wrap_secret,
)
from validator.envelope.open import checked_head, open_envelope, open_stream, open_with_dek, unwrap_dek
from validator.envelope.seal import seal, seal_file, seal_stream
from validator.envelope.shared import FileKeys, file_keys, open_shared, seal_shared
from validator.envelope.stream import plaintext_size

__all__ = [
    "FIXED",
    "BadKey",
    "Context",
    "EnvelopeError",
    "FileKeys",
    "Grant",
    "Head",
    "Keypair",
    "Oversized",
    "Undecryptable",
    "WrongContext",
    "checked_head",
    "file_keys",
    "generate_keypair",
    "header_length",
    "key_id",
    "open_backup",
    "open_envelope",
    "open_shared",
    "open_stream",
    "open_with_dek",
    "plaintext_size",
    "public_key",
    "read_head",
    "seal",
    "seal_backup",
    "seal_file",
    "seal_shared",
    "seal_stream",
    "unwrap_dek",
    "unwrap_secret",
    "wrap_secret",
]
