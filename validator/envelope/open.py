"""Opening, on the validator's and the auditor's side.

Order matters: everything that can be refused without a key is refused first, and a replay is told from damage by
what the header says. A thief who edits the header to name himself breaks the HPKE info and every tag, and is left
with damage.
"""

from __future__ import annotations

import hmac

from validator.envelope.errors import Oversized, Undecryptable, WrongContext
from validator.envelope.format import Context, Head, read_head
from validator.envelope.keys import KEY_BYTES, DerivedKeys, derive, key_id, public_key, unwrap
from validator.envelope.stream import open_chunks, plaintext_size


def open_envelope(data: bytes, secret_key: bytes, expected: Context, limit: int) -> bytes:
    """The plaintext, at most `limit` bytes, sealed for `secret_key` under the `expected` context.

    Raises WrongContext (before any decryption) for an envelope of another contributor, contract or chain; Oversized;
    Undecryptable for all else; BadKey when `secret_key` itself is not 32 bytes.
    """
    head = _checked_head(data, expected)
    body = _checked_body(data, head, limit)
    return open_chunks(body, _derive(head, _dek(head, secret_key)), head.digest)


def unwrap_dek(data: bytes, secret_key: bytes, expected: Context) -> bytes:
    """The 32-byte DEK alone, checked against the commitment: what an audit grant hands to an auditor.

    Raises as above.
    """
    head = _checked_head(data, expected)
    dek = _dek(head, secret_key)
    _derive(head, dek)
    return dek


def open_with_dek(data: bytes, dek: bytes, expected: Context, limit: int) -> bytes:
    """Open with a granted DEK. The commitment proves that it is the one the validators used. Raises as above."""
    head = _checked_head(data, expected)
    body = _checked_body(data, head, limit)
    return open_chunks(body, _derive(head, dek), head.digest)


def _checked_head(data: bytes, expected: Context) -> Head:
    head = read_head(data)
    found = head.header.context
    if found.contributor != expected.contributor:
        raise WrongContext(f"sealed by {found.contributor}, submitted by {expected.contributor}: a replay")
    if (found.chain_id, found.contract) != (expected.chain_id, expected.contract):
        raise WrongContext(f"sealed for {found.contract} on chain {found.chain_id}, submitted elsewhere: a replay")
    if found.key_epoch != expected.key_epoch:
        raise Undecryptable(f"sealed for key epoch {found.key_epoch}, submitted under {expected.key_epoch}")
    return head


def _dek(head: Head, secret_key: bytes) -> bytes:
    kid = key_id(public_key(secret_key))
    wrapped = next((one.wrap for one in head.header.recipients if one.kid == kid), None)
    if wrapped is None:
        raise Undecryptable("not sealed for this key: none of the recipients is ours")
    dek = unwrap(wrapped, secret_key, head.header.context.info())
    if dek is None:
        raise Undecryptable("the wrapped key does not open: the header was changed, or sealed wrongly")
    return dek


def _derive(head: Head, dek: bytes) -> DerivedKeys:
    if len(dek) != KEY_BYTES:
        raise Undecryptable(f"the wrapped key has {len(dek)} bytes instead of {KEY_BYTES}")
    keys = derive(dek, head.header.context.info())
    if not hmac.compare_digest(keys.commitment, head.header.commitment):
        raise Undecryptable("the wrapped key is not the one that the envelope commits to")
    return keys


def _checked_body(data: bytes, head: Head, limit: int) -> memoryview:
    body = memoryview(data)[head.size :]
    size = plaintext_size(len(body))
    if size > limit:
        raise Oversized(f"the envelope holds {size} bytes: at most {limit} are allowed")
    return body
