"""Signing history as a document, to be carried from one machine to the next, in the manner of EIP-3076.

    {"format": "poc-signing-protection/1",
     "signatures": [{"chain_id": 1, "contract": "0x..", "validator": "0x..", "round": 7, "attempt": 1,
                     "digest": "64 hex digits, or null"}]}

`contract` is ScoringRounds, `validator` the operator, `digest` the EIP-712 digest of the attestation. A digest of null
means that something unknown may have been signed, so that nothing may be signed there any more (EIP-3076 leaves its
signing root out for the same purpose). The document is written by people's tools and read strictly.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

import msgspec

from validator import strict_json
from validator.errors import ValidatorError

FORMAT = "poc-signing-protection/1"
INTERCHANGE_LIMIT = 64 * 1024 * 1024
"""Bytes: some 280,000 entries, an answer every ten minutes for five years."""
UNKNOWN = bytes(32)
"""In place of a digest: something unknown may have been signed. No keccak256 that anyone could find is zero."""


class ProtectionError(ValidatorError):
    """Signing would break protection, or protection cannot be established."""


@dataclass(frozen=True, slots=True)
class Slot:
    """What at most one content may be signed for. Addresses in lower-case hex."""

    chain_id: int
    contract: str
    validator: str
    round: int
    attempt: int

    def key(self) -> tuple[int, str, str, int, int]:
        """The primary key."""
        return (self.chain_id, self.contract.lower(), self.validator.lower(), self.round, self.attempt)

    def lowered(self) -> Slot:
        """The same slot, its addresses in lower case: equal slots compare as equal."""
        return Slot(*self.key())


_Address = Annotated[str, msgspec.Meta(pattern=r"^0x[0-9a-fA-F]{40}$")]
_Number = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class _Entry(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    chain_id: _Number
    contract: _Address
    validator: _Address
    round: _Number
    attempt: Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
    digest: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-fA-F]{64}$")] | None


class _Document(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    format: str
    signatures: list[_Entry]


def write(entries: Iterable[tuple[Slot, bytes]]) -> str:
    """The document of `entries` (slot, digest or UNKNOWN)."""
    listed = [
        {
            "chain_id": slot.chain_id,
            "contract": slot.contract,
            "validator": slot.validator,
            "round": slot.round,
            "attempt": slot.attempt,
            "digest": None if digest == UNKNOWN else digest.hex(),
        }
        for slot, digest in entries
    ]
    return json.dumps({"format": FORMAT, "signatures": listed}, indent=1, sort_keys=True)


def read(raw: bytes) -> list[tuple[Slot, bytes]]:
    """The entries of a document. Raises ProtectionError for anything that is not exactly one."""
    if len(raw) > INTERCHANGE_LIMIT:
        raise ProtectionError(f"not a signing history: more than {INTERCHANGE_LIMIT} bytes")
    try:
        document = msgspec.convert(strict_json.loads(raw, object_pairs_hook=_once), _Document)
    except (ValueError, msgspec.ValidationError) as error:
        raise ProtectionError(f"not a signing history: {error}") from None
    if document.format != FORMAT:
        raise ProtectionError(f"not a signing history: format {document.format!r:.80}, wanted {FORMAT!r}")
    return [_entry(entry) for entry in document.signatures]


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object, none of whose members stands twice: readers would differ in which of them counts."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("two members of one object have the same name")
    return found


def _entry(entry: _Entry) -> tuple[Slot, bytes]:
    digest = UNKNOWN if entry.digest is None else bytes.fromhex(entry.digest)
    if entry.digest is not None and digest == UNKNOWN:
        raise ProtectionError("not a signing history: a digest of zeros; write null for what is not known")
    slot = Slot(entry.chain_id, entry.contract.lower(), entry.validator.lower(), entry.round, entry.attempt)
    return slot, digest
