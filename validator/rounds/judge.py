"""From distinct records to a verdict on each contribution, a few at a time: however many a round has, a node holds no
more of their records than fit into a chunk, and those that later rounds will remember.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import torch

from validator.influence import Records
from validator.influence.engine import Engine
from validator.influence.probes import Probes
from validator.influence.records import concat
from validator.influence.response import Response
from validator.manifest import Scoring
from validator.rounds.earnings import payable_score
from validator.rounds.memory import Latest
from validator.rounds.redundancy import Distinct
from validator.rounds.types import Status, Submission, Terms

Fitted = Response | Probes
"""What `fit` gives: something that scores groups of records."""

CHUNK_BYTES = 64 << 20
"""Records that are held before they are judged, about; what a chunk costs besides is spread over enough of them."""
CHUNK_GROUPS = 4096
"""Contributions of a chunk, at most: each takes some KiB of objects, however small it is."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is left of a contribution once it was judged: all that its line in the bundle says but its payment."""

    submission: Submission
    included: bool
    status: Status
    reason: str
    offered: int
    records: int
    raw: int
    stderr: int
    payable: int


@dataclass(slots=True)
class Tally:
    """A round as far as it was judged: verdicts in order, hashes of what is paid, one after the other, and the latest
    of the records that are.
    """

    kept: Latest
    judged: list[Verdict] = field(default_factory=list)
    accepted: bytearray = field(default_factory=bytearray)

    def add(self, item: Distinct, raw: int, stderr: int, payable: int) -> None:
        """One more."""
        opened, records = item.opened, item.records
        scored = 0 if records is None else len(records)
        status = opened.status if opened.status is not None else _status(records, payable)
        self.judged.append(
            Verdict(
                opened.submission, opened.included, status, opened.reason, item.offered, scored, raw, stderr, payable
            )
        )
        if records is not None and payable:
            self.accepted += item.hashes
            self.kept.add(records)


def judge(
    terms: Terms,
    scoring: Scoring,
    fitted: Fitted,
    distinct: Iterable[Distinct],
    told: Callable[[int, int], None] | None,
    engine: Engine,
    chunk_bytes: int,
) -> Tally:
    """Take contributions as they are needed, and judge them in order; `told` counts them, whenever all that were judged
    together are settled.
    """
    waiting, tally, count = deque[Distinct](), Tally(Latest(scoring.memory_records)), terms.end_id - terms.first_id
    said = 0

    def groups() -> Iterator[Records]:
        for item in distinct:
            tell()
            waiting.append(item)
            if item.records is not None:
                yield item.records

    def settle(raw: int = 0, stderr: int = 0, payable: int = 0) -> None:
        tally.add(waiting.popleft(), raw, stderr, payable)

    def tell() -> None:
        nonlocal said
        if told is not None and len(tally.judged) > said:
            said = len(tally.judged)
            told(said, count)

    for raw, stderr in scores(fitted, groups(), count, scoring, engine, chunk_bytes):
        while waiting[0].records is None:
            settle()
        settle(raw, stderr, payable_score(raw, stderr, scoring))
    while waiting:
        settle()
    tell()
    return tally


def scores(
    fitted: Fitted, groups: Iterator[Records], count: int, scoring: Scoring, engine: Engine, chunk_bytes: int
) -> Iterator[tuple[int, int]]:
    """(raw, stderr) of each of at most `count` groups in 1e-9 of the objective: by `response` what it adds to the
    accepted ones before it, by probes what it is worth alone.
    """
    if isinstance(fitted, Response):

        def accepts(raw: int, stderr: int) -> bool:
            return payable_score(raw, stderr, scoring) > 0

        for one in fitted.judged(groups, accepts, count=count, most_bytes=chunk_bytes, engine=engine):
            yield from zip(*one.to_fixed(), strict=True)
        return
    for chunk in chunks(groups, chunk_bytes):
        ids = torch.cat([torch.full((len(group),), index, dtype=torch.int64) for index, group in enumerate(chunk)])
        yield from zip(*fitted.score(concat(chunk), groups=ids, engine=engine).to_fixed(), strict=True)


def chunks(groups: Iterator[Records], most_bytes: int) -> Iterator[list[Records]]:
    """Groups together until they hold `most_bytes`, or are CHUNK_GROUPS."""
    chunk, held = list[Records](), 0
    for group in groups:
        chunk.append(group)
        held += group.nbytes
        if held >= most_bytes or len(chunk) == CHUNK_GROUPS:
            yield chunk
            chunk, held = [], 0
    if chunk:
        yield chunk


def _status(records: Records | None, payable: int) -> Status:
    if records is None:
        return Status.DUPLICATE
    return Status.PAID if payable else Status.BELOW_NOISE
