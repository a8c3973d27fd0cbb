"""Open: from the bytes of an envelope to records, or to the status that ends the contribution. The same for daemon and
audit.

Whether an envelope opens and a payload parses is objective: same bytes, same key, same rules. So it is part of the
score, and only deterministic refusals may become a status; a fault of this machine (WorkerFault) is raised, never
scored.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable

import structlog
import torch

from validator.content import TooLarge
from validator.envelope import Context, Undecryptable, WrongContext
from validator.influence import Records
from validator.influence.records import NO_TARGET
from validator.manifest import Manifest, PayloadRules
from validator.payload import Malformed, Parsed, ParsingWorker, parse
from validator.payload.schema import PADDING, Schema, classification, sequences
from validator.rounds.types import Opened, Status, Submission
from validator.stages.keyring import Keyring

log = structlog.get_logger("open")


def payload_schema(manifest: Manifest | PayloadRules) -> Schema:
    """The manifest's payload rules in the terms of the parser."""
    rules, limits = manifest.payload, manifest.limits
    if rules.task == "next_token":
        return sequences(rules.shape[0], rules.classes, max_records=limits.max_records, max_bytes=limits.envelope_bytes)
    return classification(
        tuple(rules.shape),
        rules.classes,
        max_records=limits.max_records,
        max_bytes=limits.envelope_bytes,
        dtype=rules.dtype,
        minimum=float(rules.minimum),
        maximum=float(rules.maximum),
    )


def open_all(
    submitted: Iterable[Submission],
    included: frozenset[int],
    manifest: Manifest,
    keys: Keyring,
    place: tuple[int, str],
    read: Callable[[Submission], bytes],
) -> Generator[Opened, None, None]:
    """Open the submissions of a round in order, each when it is asked for; to be closed.

    `included`: ids that a quorum holds. `keys`: what opens them. `place`: (chain id, contract) that envelopes
    are bound to. `read`: verified bytes of an envelope, at most as many as declared; its TooLarge is a verdict (content
    is what it is), anything else that it raises is passing and is passed on.
    """
    with parsing_worker() as worker:  # one for all of them: none is started for each
        for item in submitted:
            yield _open(item, item.id in included, manifest, keys, place, read, worker)


def parsing_worker() -> ParsingWorker:
    """A worker whose every fault is logged, also those that a second try mends."""
    return ParsingWorker(lambda fault: log.error("parsing fault: this machine's, not the data's", error=str(fault)))


def _open(
    submission: Submission,
    is_included: bool,
    manifest: Manifest,
    keys: Keyring,
    place: tuple[int, str],
    read: Callable[[Submission], bytes],
    worker: ParsingWorker,
) -> Opened:
    if submission.size > manifest.limits.envelope_bytes:
        return Opened(submission, included=False, status=Status.OVERSIZED, reason="declared_size")
    if not is_included:
        return Opened(submission, included=False, status=Status.UNAVAILABLE)
    try:
        sealed = read(submission)
    except TooLarge:
        sealed = b""
    if len(sealed) != submission.size:
        # No honest validator reports it; should a quorum do so all the same, it must not hold up everyone for ever.
        return Opened(submission, included=True, status=Status.MALFORMED, reason="size")
    return _parse(submission, sealed, manifest, keys, place, worker)


def _parse(
    submission: Submission,
    sealed: bytes,
    manifest: Manifest,
    keys: Keyring,
    place: tuple[int, str],
    worker: ParsingWorker,
) -> Opened:
    context = Context(place[0], place[1].lower(), submission.key_epoch, submission.contributor.lower())
    try:
        plain = keys.open(sealed, context, submission.size)
        parsed = parse_payload(plain, manifest, worker)
    except WrongContext as error:
        return Opened(submission, included=True, status=Status.REPLAYED, reason=error.code)
    except Undecryptable as error:
        return Opened(submission, included=True, status=Status.UNDECRYPTABLE, reason=error.code)
    except Malformed as error:
        status = Status.OVERSIZED if error.oversized else Status.MALFORMED
        return Opened(submission, included=True, status=status, reason=error.code)
    return Opened(submission, included=True, records=to_records(parsed))


def parse_payload(plain: bytes, manifest: Manifest | PayloadRules, worker: ParsingWorker | None = None) -> Parsed:
    """Records of a payload by the manifest's rules, parsed in `worker` or one of its own; raises Malformed with the
    broken rule, or WorkerFault.
    """
    parsed = (worker.parse if worker else parse)(plain, manifest.payload.format, payload_schema(manifest))
    fewest = manifest.limits.min_records
    if parsed.records < fewest:
        raise Malformed("few_records", f"{parsed.records} records: at least {fewest} are wanted")
    return parsed


def to_records(parsed: Parsed) -> Records:
    """Parsed arrays as tensors: inputs in the schema's dtype (uint8 pixels as float32), targets int64 (n,); of
    sequences the tokens, int64 (n, positions), and the next token at each position.
    """
    inputs = torch.from_numpy(parsed.arrays["inputs"])
    if parsed.targets is None:
        return next_tokens(inputs)
    targets = torch.from_numpy(parsed.targets).to(torch.int64)
    return Records(inputs.to(torch.float32) if inputs.dtype == torch.uint8 else inputs, targets)


def next_tokens(tokens: torch.Tensor) -> Records:
    """Sequences (n, positions) int64, padded with -1 at the end, as records: every token but the first is a target, at
    the position before its own. Padding becomes token 0, which no position with a target sees in a causal model.
    """
    targets = torch.full_like(tokens, NO_TARGET)
    targets[:, :-1] = torch.where(tokens[:, 1:] == PADDING, NO_TARGET, tokens[:, 1:])
    return Records(torch.where(tokens == PADDING, 0, tokens), targets)
