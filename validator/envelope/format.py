"""Envelope v1, byte by byte.

    magic     15 bytes   "poc-envelope/1\\n"
    length     4 bytes   big-endian length of the header, 1 to 1,048,576
    header     canonical JSON
    body       chunks of AES-256-GCM, see `stream`

The **header** is ASCII JSON with sorted keys and no white space; a header that does not re-encode to its own bytes
is refused, so there is one encoding of each header, and no key twice. All byte strings are lower-case hexadecimal.

    {"commitment": 32 bytes,                        binds the DEK, see `keys.DerivedKeys`
     "context": {"chain_id": int,                   1 to 2**53 - 1
                 "contract": "0x" + 20 bytes,       the ScoringRounds contract
                 "contributor": "0x" + 20 bytes,
                 "key_epoch": int},                 1 to 2**32 - 1
     "recipients": [{"kid": 16 bytes, "wrap": 80 bytes}, ...],     1 to 1024, distinct kids
     "suite": 1}

Suite 1: HPKE (RFC 9180) base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM. `wrap` is the encapsulated
key (32 bytes) followed by the sealed 32-byte DEK (48 bytes): single shot, empty AAD, and as `info` the bytes
"poc-envelope/1 dek\\n" followed by the context as canonical JSON. `kid` is the first 16 bytes of
SHA-256("poc-envelope/1 kid\\n" + public key).

The whole head (magic, length, header) is hashed with SHA-256; the hash is the AAD of every chunk. So no bit of it
can be changed, and no chunk can move to another envelope.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from validator import strict_json
from validator.envelope.errors import Undecryptable

MAGIC = b"poc-envelope/1\n"
MAX_HEADER = 1 << 20
MAX_RECIPIENTS = 1024
LENGTH_BYTES = 4
FIXED = len(MAGIC) + LENGTH_BYTES
"""Bytes before the header."""
KID_BYTES = 16
WRAP_BYTES = {1: 80, 2: 1168}
"""Bytes of a wrapped DEK, by suite."""
SUITE, HYBRID = WRAP_BYTES
COMMITMENT_BYTES = 32
_MAX_CHAIN_ID = 2**53 - 1  # what a browser's JSON can hold exactly
_MAX_EPOCH = 2**32 - 1
_ADDRESS = re.compile(r"0x[0-9a-f]{40}", re.ASCII)
_HEX = re.compile(r"[0-9a-f]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Context:
    """For whom and by whom an envelope is sealed. Addresses in any case; kept in lower case.

    Raises ValueError for a chain id outside 1..2**53-1, an epoch outside 1..2**32-1 or something that is no address.
    """

    chain_id: int
    contract: str
    key_epoch: int
    contributor: str

    def __post_init__(self) -> None:
        if type(self.chain_id) is not int or not 1 <= self.chain_id <= _MAX_CHAIN_ID:
            raise ValueError("the chain id must be an integer from 1 to 2**53 - 1")
        if type(self.key_epoch) is not int or not 1 <= self.key_epoch <= _MAX_EPOCH:
            raise ValueError("the key epoch must be an integer from 1 to 2**32 - 1")
        for name in ("contract", "contributor"):
            object.__setattr__(self, name, address(getattr(self, name)))

    def fields(self) -> dict[str, int | str]:
        """The four fields as they stand in the header."""
        return {
            "chain_id": self.chain_id,
            "contract": self.contract,
            "contributor": self.contributor,
            "key_epoch": self.key_epoch,
        }

    def info(self) -> bytes:
        """What HPKE and the key derivation are bound to."""
        return MAGIC.rstrip() + b" dek\n" + canonical(self.fields())


@dataclass(frozen=True, slots=True)
class Recipient:
    """A wrapped DEK: `kid` (16 bytes) names the public key, `wrap` is the HPKE ciphertext, as long as the suite's."""

    kid: bytes
    wrap: bytes


@dataclass(frozen=True, slots=True)
class Header:
    """What stands before the body."""

    context: Context
    commitment: bytes
    recipients: tuple[Recipient, ...]
    suite: int = SUITE

    def encode(self) -> bytes:
        """The head: magic, length, header."""
        text = canonical(
            {
                "commitment": self.commitment.hex(),
                "context": self.context.fields(),
                "recipients": [{"kid": one.kid.hex(), "wrap": one.wrap.hex()} for one in self.recipients],
                "suite": self.suite,
            }
        )
        return MAGIC + len(text).to_bytes(LENGTH_BYTES, "big") + text


@dataclass(frozen=True, slots=True)
class Head:
    """A parsed head: the header, its size with magic and length in bytes, and its SHA-256 (every chunk's AAD)."""

    header: Header
    size: int
    digest: bytes


def read_head(data: bytes | memoryview, *, experimental: bool = False) -> Head:
    """Parse the start of an envelope. Raises Undecryptable for anything that `Header.encode` would not write, and,
    unless `experimental`, for any suite but the first.
    """
    length = header_length(data[:FIXED], len(data))
    text = bytes(data[FIXED : FIXED + length])
    head = bytes(data[: FIXED + length])
    return Head(_parse_header(text, experimental=experimental), len(head), hashlib.sha256(head).digest())


def header_length(start: bytes | memoryview, size: int) -> int:
    """How long the header is, from the first FIXED bytes of an envelope of `size` bytes. Raises Undecryptable."""
    if bytes(start[: len(MAGIC)]) != MAGIC:
        raise Undecryptable("not an envelope of version 1: it does not begin with the magic line", "magic")
    length = int.from_bytes(start[len(MAGIC) : FIXED], "big")
    if len(start) < FIXED or not 1 <= length <= MAX_HEADER or FIXED + length > size:
        raise Undecryptable(
            f"the envelope is cut or its header too long: it claims {length} bytes of header", "header-size"
        )
    return length


def canonical(value: object) -> bytes:
    """Canonical JSON for our own documents: ASCII, sorted keys, no white space, integers only (a subset of RFC
    8785).
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode("ascii")


def address(text: object) -> str:
    """An address in lower case. Raises ValueError. The EIP-55 check is the chain room's: here only equality matters."""
    lower = text.lower() if isinstance(text, str) else ""
    if not _ADDRESS.fullmatch(lower):
        raise ValueError("an address is 0x and 40 hexadecimal digits")
    return lower


def _parse_header(text: bytes, *, experimental: bool) -> Header:
    try:
        fields: Any = strict_json.loads(text)
        again = canonical(fields)
    except ValueError:
        raise Undecryptable("the envelope's header is not JSON", "header-json") from None
    if again != text:
        raise Undecryptable("the envelope's header is not in canonical form", "header-canonical")
    _keys(fields, "header-field", "commitment", "context", "recipients", "suite")
    suite = fields["suite"]
    if type(suite) is not int or suite not in ((SUITE, HYBRID) if experimental else (SUITE,)):
        raise Undecryptable("the envelope uses a cipher suite that this version does not take", "suite")
    return Header(
        _parse_context(fields["context"]),
        _hex(fields["commitment"], COMMITMENT_BYTES, "header-field"),
        _parse_recipients(fields["recipients"], WRAP_BYTES[suite]),
        suite,
    )


def _parse_context(fields: Any) -> Context:  # noqa: ANN401 - JSON
    _keys(fields, "context", "chain_id", "contract", "contributor", "key_epoch")
    try:
        context = Context(**fields)
    except ValueError as error:
        raise Undecryptable(f"the envelope's context is wrong: {error}", "context") from None
    if context.fields() != fields:
        raise Undecryptable("the envelope's addresses must be in lower case", "context")
    return context


def _parse_recipients(items: Any, wrap: int) -> tuple[Recipient, ...]:  # noqa: ANN401 - JSON
    if type(items) is not list or not 1 <= len(items) <= MAX_RECIPIENTS:
        raise Undecryptable(f"an envelope has 1 to {MAX_RECIPIENTS} recipients", "recipients")
    for item in items:
        _keys(item, "recipients", "kid", "wrap")
    found = tuple(
        Recipient(_hex(item["kid"], KID_BYTES, "recipients"), _hex(item["wrap"], wrap, "recipients")) for item in items
    )
    if len({one.kid for one in found}) != len(found):
        raise Undecryptable("an envelope names each recipient once", "recipients")
    return found


def _keys(value: Any, reason: str, *names: str) -> None:  # noqa: ANN401 - JSON
    if type(value) is not dict or set(value) != set(names):
        raise Undecryptable(f"the envelope's header must have exactly the fields {', '.join(names)}", reason)


def _hex(value: Any, size: int, reason: str) -> bytes:  # noqa: ANN401 - JSON
    if type(value) is not str or len(value) != 2 * size or not _HEX.fullmatch(value):
        raise Undecryptable(f"the envelope's header needs {size} bytes in lower-case hexadecimal", reason)
    return bytes.fromhex(value)
