"""Open: from the bytes of a file and the key that was granted for it to records.

A refusal is a verdict only if no other key could change it. What a wrong key may cause (the key does not open, the MDC
does not fit) waits for the owner to grant another one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import structlog

from validator.envelope.eccrypto import open_password
from validator.envelope.foreign import REASONS, Unopenable
from validator.envelope.openpgp import OVERHEAD
from validator.errors import ValidatorError
from validator.influence import Records
from validator.manifest import Manifest
from validator.payload import Malformed, Parsed, ParsingWorker, WorkerFault
from validator.payload.parse import accept, request_for
from validator.payload.worker import Request, Status
from validator.rounds.types import Status as Verdict
from validator.stages.open import payload_schema, to_records
from validator.stages.vana.worker import UNOPENABLE, frame

log = structlog.get_logger("vana")

PROGRAM = "validator.stages.vana.worker"
PASSWORD_BYTES = 132
OF_THE_KEY = frozenset(reason for reason in REASONS if reason in ("password", "mdc") or reason.startswith("key-"))
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)


class KeyRefused(ValidatorError):
    """What was granted does not open the file. The owner may grant again."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What a file holds: records and the SHA-256 of its plaintext (hex), or the verdict that ends it."""

    records: Records | None = None
    plain_digest: str = ""
    status: Verdict | None = None
    reason: str = ""


def worker() -> ParsingWorker:
    """A worker for these files, whose every fault is logged."""
    return ParsingWorker(
        lambda fault: log.error("parsing fault: this machine's, not the data's", error=str(fault)), PROGRAM
    )


def most_bytes(manifest: Manifest) -> int:
    """Bytes of a file that is read: its payload's limit, and what OpenPGP adds. Partial lengths add one byte a part,
    which openpgp.js makes of 512 bytes at least.
    """
    return manifest.limits.envelope_bytes + manifest.limits.envelope_bytes // 256 + OVERHEAD


def open_file(message: bytes, granted: str, secret: bytes, manifest: Manifest, process: ParsingWorker) -> Contents:
    """The contents of a file. `secret` (32 bytes) is the one that its key was granted to; it does not leave this
    process. Raises KeyRefused, or WorkerFault, which says nothing about the file.
    """
    try:
        password = open_password(granted, secret)
        return _accepted(message, password, manifest, process)
    except Unopenable as error:
        if error.reason in OF_THE_KEY:
            raise KeyRefused(f"the granted key does not open the file ({error.reason}): {error}") from None
        return Contents(status=Verdict.OVERSIZED if error.oversized else Verdict.UNDECRYPTABLE, reason=error.reason)
    except Malformed as error:
        return Contents(status=Verdict.OVERSIZED if error.oversized else Verdict.MALFORMED, reason=error.code)


def _accepted(message: bytes, password: bytes, manifest: Manifest, process: ParsingWorker) -> Contents:
    data, schema = frame(message, password), payload_schema(manifest)
    parsed, digest = process.run(
        data,
        lambda limits: request_for(len(data), schema.max_bytes, manifest.payload.format, schema, limits),
        _answer,
    )
    fewest = manifest.limits.min_records
    if parsed.records < fewest:
        raise Malformed("few_records", f"{parsed.records} records: at least {fewest} are wanted")
    return Contents(to_records(parsed), digest)


def _answer(request: Request, status: Status, body: bytearray) -> tuple[Parsed, str]:
    """A child's answer, which is not to be trusted."""
    if status.kind == UNOPENABLE and status.code in REASONS:
        words = "".join(letter for letter in status.message if letter.isprintable())[:300]
        raise Unopenable(status.code, words)
    parsed = accept(request, status, body)
    if not _DIGEST.fullmatch(status.message):
        raise WorkerFault("the parsing worker answered nonsense (no digest): try again, and report it")
    return parsed, status.message
