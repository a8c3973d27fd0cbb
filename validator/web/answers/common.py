"""What the answers share: parts of long lists, hex, and the row of one contribution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from validator.content import BadCid, Cid
from validator.errors import ValidatorError
from validator.rounds.evidence import EvidenceError, Line
from validator.rounds.lifecycle import RoundState
from validator.rounds.types import Status, Submission
from validator.web.models import Contribution, Page
from validator.web.source import Bundle, Known, Source

PAGE_ROWS = 100

T = TypeVar("T")


class Absent(ValidatorError):
    """There is nothing under this name."""


def part(items: Sequence[T], page: int, rows: int = PAGE_ROWS) -> tuple[Page, Sequence[T]]:
    """Page `page` (from 1) of a list, and which one it is; an empty list has one empty page. Raises Absent beyond."""
    pages = max(1, -(-len(items) // rows))
    if not 1 <= page <= pages:
        raise Absent(f"there is no page {page}: the list ends on page {pages}")
    return Page(page=page, pages=pages, total=len(items)), items[(page - 1) * rows : page * rows]


def hexed(data: bytes) -> str:
    """Bytes as 0x and lower-case hex."""
    return "0x" + data.hex()


def hex_or_none(data: bytes) -> str | None:
    """The same; None for a digest that is still zero."""
    return hexed(data) if any(data) else None


def bundle_of(source: Source, state: RoundState) -> tuple[Bundle | None, str | None]:
    """The evidence of a round, or why it could not be had; neither before the round is final."""
    if state.final is None:
        return None, None
    try:
        bundle = source.bundle(state.final["evidence"])
        if [line.id for line in bundle.evidence.contributions] != list(range(state.first_id, state.end_id)):
            raise EvidenceError(f"the evidence that was attested lists other contributions than round {state.round}")
    except ValidatorError as fault:
        return None, str(fault)
    return bundle, None


def line_of(bundle: Bundle, contribution: int) -> Line:
    """The line of a contribution that the bundle holds."""
    lines = bundle.evidence.contributions
    return lines[contribution - lines[0].id]


def contribution_row(submission: Submission, state: RoundState | None, bundle: Bundle | None) -> Contribution:
    """One contribution, with its score once there is evidence."""
    known = Contribution(
        id=submission.id,
        round=state.round if state is not None else None,
        contributor=submission.contributor,
        cid=_cid_text(submission),
        size=submission.size,
        key_epoch=submission.key_epoch,
    )
    if bundle is None:
        return known
    line = line_of(bundle, submission.id)
    return known.model_copy(update=_scored(line, bundle))


def latest(known: Known) -> RoundState | None:
    """The newest round."""
    rounds = known.ledger.rounds
    return rounds[max(rounds)] if rounds else None


def _scored(line: Line, bundle: Bundle) -> dict[str, object]:
    judged = line.records > 0
    return {
        "status": Status(line.status).name.lower(),
        "words": line.words(),
        "reason": line.reason,
        "records": line.records,
        "repeats": line.repeats,
        "raw": line.raw if judged else None,
        "stderr": line.stderr if judged else None,
        "score": line.payable,
        "rank": bundle.ranks.get(line.id),
        "paid": line.paid,
    }


def _cid_text(submission: Submission) -> str:
    try:
        return str(Cid.from_chain(submission.digest, submission.codec))
    except BadCid as error:
        return str(error)
