"""Opening, on the validator's and the auditor's side.

Order matters: everything that can be refused without a key is refused first, and a replay is told from damage by
what the header says. A thief who edits the header to name himself breaks the HPKE info and every tag, and is left
with damage. There is no way to a file: what is opened stands in memory, and no larger than the caller's limit.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from typing import Protocol

from validator.envelope.errors import Oversized, Undecryptable, WrongContext
from validator.envelope.format import FIXED, Context, Head, header_length, read_head
from validator.envelope.keys import KEY_BYTES, DerivedKeys, derive, key_id, public_key, unwrap
from validator.envelope.stream import SEALED_CHUNK, open_chunks, plaintext_size


class Readable(Protocol):
    """A file, raw or buffered, or a BytesIO."""

    def readinto(self, buffer: bytearray | memoryview, /) -> int | None:
        """Fill the start of `buffer`; how much, 0 at the end."""


def open_envelope(
    data: bytes, secret_key: bytes, expected: Context, limit: int, *, experimental: bool = False
) -> bytes:
    """The plaintext, at most `limit` bytes, sealed for `secret_key` under the `expected` context.

    Raises WrongContext (before any decryption) for an envelope of another contributor, contract or chain; Oversized;
    Undecryptable for all else; BadKey when `secret_key` itself is of the wrong length. `experimental` allows suite 2.
    """
    head = checked_head(data, expected, experimental=experimental)
    body = memoryview(data)[head.size :]
    size = _checked_size(len(body), limit)
    return open_chunks(_cut(body), size, _derive(head, _dek(head, secret_key)), head.digest)


def open_stream(source: Readable, size: int, secret_key: bytes, expected: Context, limit: int) -> bytes:
    """The same for an envelope of exactly `size` bytes read from `source`, which is never in memory as a whole. Raises
    as above, and what reading raises.
    """
    start = _exactly(source, min(FIXED, size))
    head = checked_head(start + _exactly(source, header_length(start, size)), expected)
    plain = _checked_size(size - head.size, limit)
    keys = _derive(head, _dek(head, secret_key))
    return open_chunks(_read(source, size - head.size), plain, keys, head.digest)


def unwrap_dek(data: bytes, secret_key: bytes, expected: Context) -> bytes:
    """The 32-byte DEK alone, checked against the commitment: what an audit grant hands to an auditor.

    Raises as above.
    """
    head = checked_head(data, expected)
    dek = _dek(head, secret_key)
    _derive(head, dek)
    return dek


def open_with_dek(data: bytes, dek: bytes, expected: Context, limit: int) -> bytes:
    """Open with a granted DEK. The commitment proves that it is the one the validators used. Raises as above."""
    head = checked_head(data, expected)
    body = memoryview(data)[head.size :]
    size = _checked_size(len(body), limit)
    return open_chunks(_cut(body), size, _derive(head, dek), head.digest)


def checked_head(data: bytes | memoryview, expected: Context, *, experimental: bool = False) -> Head:
    """The head of an envelope in the `expected` context: all that can be said without a key. Raises as above."""
    head = read_head(data, experimental=experimental)
    found = head.header.context
    if found.contributor != expected.contributor:
        raise WrongContext(
            f"sealed by {found.contributor}, submitted by {expected.contributor}: a replay", "contributor"
        )
    if (found.chain_id, found.contract) != (expected.chain_id, expected.contract):
        raise WrongContext(
            f"sealed for {found.contract} on chain {found.chain_id}, submitted elsewhere: a replay", "contract"
        )
    if found.key_epoch != expected.key_epoch:
        raise Undecryptable(f"sealed for key epoch {found.key_epoch}, submitted under {expected.key_epoch}", "epoch")
    return head


def _dek(head: Head, secret_key: bytes) -> bytes:
    suite = head.header.suite
    kid = key_id(public_key(secret_key, suite))
    wrapped = next((one.wrap for one in head.header.recipients if one.kid == kid), None)
    if wrapped is None:
        raise Undecryptable("not sealed for this key: none of the recipients is ours", "not-a-recipient")
    dek = unwrap(wrapped, secret_key, head.header.context.info(), suite)
    if dek is None:
        raise Undecryptable("the wrapped key does not open: the header was changed, or sealed wrongly", "wrap")
    return dek


def _derive(head: Head, dek: bytes) -> DerivedKeys:
    if len(dek) != KEY_BYTES:
        raise Undecryptable(f"the wrapped key has {len(dek)} bytes instead of {KEY_BYTES}", "wrap")
    keys = derive(dek, head.header.context.info())
    if not hmac.compare_digest(keys.commitment, head.header.commitment):
        raise Undecryptable("the wrapped key is not the one that the envelope commits to", "commitment")
    return keys


def _checked_size(body: int, limit: int) -> int:
    size = plaintext_size(body)
    if size > limit:
        raise Oversized(f"the envelope holds {size} bytes: at most {limit} are allowed", "oversized")
    return size


def _cut(body: memoryview) -> Iterator[memoryview]:
    for at in range(0, len(body), SEALED_CHUNK):
        yield body[at : at + SEALED_CHUNK]


def _read(source: Readable, size: int) -> Iterator[memoryview]:
    """Chunk after chunk, all through one buffer; nothing may follow."""
    buffer = memoryview(bytearray(SEALED_CHUNK))
    for at in range(0, size, SEALED_CHUNK):
        piece = buffer[: min(SEALED_CHUNK, size - at)]
        _fill(source, piece)
        if at + len(piece) == size and source.readinto(bytearray(1)):
            raise Undecryptable(f"the file holds more than the {size} bytes that it should", "length")
        yield piece


def _exactly(source: Readable, size: int) -> bytes:
    piece = bytearray(size)
    _fill(source, memoryview(piece))
    return bytes(piece)


def _fill(source: Readable, room: memoryview) -> None:
    """A raw file or a pipe may give fewer bytes a read than it is asked for."""
    at = 0
    while at < len(room):
        more = source.readinto(room[at:])
        if not more:
            raise Undecryptable("the envelope is cut: the file ends before its declared size", "length")
        at += more
