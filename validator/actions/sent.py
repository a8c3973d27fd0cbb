"""What this home has sent, kept at home: so that a contributor can be told which of their own records came twice.

Nobody else can tell them: validators recognise repeats by hashes under a key that the DAO keeps to itself. A line a
contribution, appended to one file that its owner alone can read. It holds hashes of the records keyed by the home's
own secret, so that who steals the disk without its password learns nothing by guessing.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from validator.errors import ValidatorError

FILE = "contributions.jsonl"
HASH_BYTES = 16
MOST_BYTES = 2**28
"""Read at most; a line of a thousand records has about 33 kB."""


class SentError(ValidatorError):
    """The file of what was sent cannot be read or written."""


class Sent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One contribution as it was sent: where to, its id there, and keyed hashes of its different records in hex."""

    chain_id: int
    contract: str
    id: int
    cid: str
    records: list[str]


def keyed(fingerprints: Iterable[bytes], secret: bytes) -> list[str]:
    """What is kept of the fingerprints of records; `secret` has at most 64 bytes."""
    return sorted(hashlib.blake2b(one, digest_size=HASH_BYTES, key=secret).hexdigest() for one in fingerprints)


def note(path: Path, sent: Sent) -> None:
    """Append one contribution. Raises SentError; what was sent stays sent."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "ab") as file:
            file.write(msgspec.json.encode(sent) + b"\n")
    except OSError as error:
        raise SentError(f"contribution {sent.id} is sent, but {path} cannot be written: {error.strerror}") from None


def read(path: Path, chain_id: int, contract: str) -> dict[int, Sent]:
    """By id, what was sent to one DAO; nothing if there is no file. A last line that a crash cut short is left out."""
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SentError(f"{path} cannot be read: {error.strerror}") from None
    if len(data) > MOST_BYTES:
        raise SentError(f"{path} has more than {MOST_BYTES} bytes: move it away")
    found = _lines(path, data)
    return {one.id: one for one in found if (one.chain_id, one.contract) == (chain_id, contract.lower())}


def _lines(path: Path, data: bytes) -> Iterator[Sent]:
    for number, line in enumerate(data.split(b"\n")[:-1], start=1):
        try:
            yield msgspec.json.decode(line, type=Sent)
        except msgspec.MsgspecError as error:
            raise SentError(f"{path} line {number} is not what this program wrote ({error}): move it away") from None


def repeated(sent: dict[int, Sent], contribution: int) -> dict[int, int]:
    """By id of an earlier contribution of this home: how many records of `contribution` were in it first."""
    if contribution not in sent:
        return {}
    left = set(sent[contribution].records)
    found: dict[int, int] = {}
    for earlier in sorted(id_ for id_ in sent if id_ < contribution):
        shared = left & set(sent[earlier].records)
        if shared:
            found[earlier] = len(shared)
            left -= shared
    return found
