"""The body: STREAM over AES-256-GCM (Hoang, Reyhanitabar, Rogaway, Vizar, CRYPTO 2015).

Plaintext is cut into chunks of 65,536 bytes; the last may be shorter, and is empty only when the whole is. Each
chunk is sealed with the nonce `prefix (7 bytes) | counter (u32, big endian, from 0) | last (1 byte: 1 for the last
chunk, else 0)` and grows by a 16-byte tag. The counter stops reordering, the last flag stops cutting and appending,
the prefix and the key come from the DEK, the AAD is the head's hash.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from validator.buffers import buffer_of
from validator.envelope.errors import Undecryptable
from validator.envelope.keys import DerivedKeys

CHUNK = 65_536
TAG = 16
SEALED_CHUNK = CHUNK + TAG
_MAX_CHUNKS = 2**32


def plaintext_size(body_size: int) -> int:
    """How many bytes a body of `body_size` bytes opens to.

    Raises Undecryptable for a length that no plaintext gives.
    """
    full, rest = divmod(body_size, SEALED_CHUNK)
    if rest and (rest < TAG or (rest == TAG and full)):
        raise Undecryptable("the envelope is cut: its length fits no plaintext", "length")
    chunks = full + bool(rest)
    if not 1 <= chunks <= _MAX_CHUNKS:
        raise Undecryptable("the envelope is cut: it has no body", "length")
    return body_size - chunks * TAG


def seal_chunks(pieces: Iterable[bytes], keys: DerivedKeys, aad: bytes) -> Iterator[bytes]:
    """Seal pieces of exactly CHUNK bytes, only the last of which may be shorter. No pieces mean an empty plaintext."""
    cipher, waiting, counter = AESGCM(keys.chunk_key), b"", 0
    for number, piece in enumerate(pieces):
        if number:
            yield cipher.encrypt(_nonce(keys, counter, last=False), waiting, aad)
            counter += 1
        waiting = piece
    yield cipher.encrypt(_nonce(keys, counter, last=True), waiting, aad)


def open_chunks(pieces: Iterable[memoryview], size: int, keys: DerivedKeys, aad: bytes) -> bytes:
    """The plaintext of `size` bytes, handed out only when the last chunk has authenticated. `pieces` are the sealed
    chunks, each valid until the next is asked for. Raises Undecryptable.

    The plaintext stands in memory once: each chunk is decrypted to its place, and BytesIO hands out its buffer
    without a copy.
    """
    cipher, whole, at = AESGCM(keys.chunk_key), buffer_of(size), 0
    chunks = max(-(-size // CHUNK), 1)
    with whole.getbuffer() as room:
        for counter, sealed in enumerate(pieces):
            end = at + len(sealed) - TAG
            try:
                cipher.decrypt_into(_nonce(keys, counter, last=counter == chunks - 1), sealed, aad, room[at:end])
            except InvalidTag:
                raise Undecryptable(
                    f"the envelope is damaged: chunk {counter} of {chunks} is not what was sealed", "chunk"
                ) from None
            at = end
    if at != size:
        raise AssertionError("internal error: the chunks are not as many as their length says")
    return whole.getvalue()


def _nonce(keys: DerivedKeys, counter: int, *, last: bool) -> bytes:
    return keys.nonce_prefix + counter.to_bytes(4, "big") + bytes((last,))
