"""Sealing, on the contributor's side."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from validator.envelope.errors import BadKey
from validator.envelope.format import MAX_RECIPIENTS, SUITE, Context, Header, Recipient
from validator.envelope.keys import KEY_BYTES, derive, key_id, wrap
from validator.envelope.stream import CHUNK, seal_chunks


def seal(plaintext: bytes, recipients: Sequence[bytes], context: Context, *, suite: int = SUITE) -> bytes:
    """An envelope that each of `recipients` (32-byte X25519 public keys; the DAO's epoch key first) can open.

    Two calls never give the same bytes. Raises BadKey for a wrong or repeated recipient. `suite` 2 is experimental: no
    validator opens it.
    """
    sink = io.BytesIO()
    seal_stream(io.BytesIO(plaintext), sink, recipients, context, suite=suite)
    return sink.getvalue()


def seal_stream(
    source: BinaryIO, sink: BinaryIO, recipients: Sequence[bytes], context: Context, *, suite: int = SUITE
) -> int:
    """Seal a file of any size in constant memory. Returns the bytes written. Raises BadKey and what the files raise."""
    dek = os.urandom(KEY_BYTES)
    keys = derive(dek, context.info())
    header = Header(context, keys.commitment, _wraps(dek, recipients, context, suite), suite)
    head = header.encode()
    written = sink.write(head)
    for sealed in seal_chunks(_pieces(source), keys, hashlib.sha256(head).digest()):
        written += sink.write(sealed)
    return written


def seal_file(source: Path, target: Path, recipients: Sequence[bytes], context: Context) -> int:
    """Seal the file `source` into the new file `target`, in constant memory. Returns the bytes written.

    `target` comes to be only when it is whole; one that is there is not overwritten (FileExistsError).
    """
    if target.exists():
        raise FileExistsError(errno.EEXIST, "exists already and is not overwritten", str(target))
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=target.name, suffix=".part")
    partial = Path(name)
    try:
        with source.open("rb") as plain, os.fdopen(handle, "wb") as sealed:
            written = seal_stream(plain, sealed, recipients, context)
            sealed.flush()
            os.fsync(sealed.fileno())
        os.link(partial, target)  # unlike a rename it fails when somebody else was quicker
    finally:
        partial.unlink(missing_ok=True)
    return written


def _wraps(dek: bytes, recipients: Sequence[bytes], context: Context, suite: int) -> tuple[Recipient, ...]:
    if not 1 <= len(recipients) <= MAX_RECIPIENTS or len(set(recipients)) != len(recipients):
        raise BadKey(f"an envelope is sealed for 1 to {MAX_RECIPIENTS} different keys, not for {len(recipients)}")
    return tuple(Recipient(key_id(public), wrap(dek, public, context.info(), suite)) for public in recipients)


def _pieces(source: BinaryIO) -> Iterator[bytes]:
    """Exactly CHUNK bytes at a time: a raw file or a pipe may give fewer per read."""
    while True:
        piece = bytearray()
        while len(piece) < CHUNK and (more := source.read(CHUNK - len(piece))):
            piece += more
        if piece:
            yield bytes(piece)
        if len(piece) < CHUNK:
            return
