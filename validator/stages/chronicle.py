"""What a node knows of the chain: rounds and whoever takes part, folded from the journal's events, and the submissions
that are still to be judged. All else stays in the journal and is read there when it is asked for, so that what is in
memory grows with what is under way, and hardly with what was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from validator.errors import ValidatorError
from validator.journal import Journal
from validator.journal.database import Row
from validator.rounds.lifecycle import FOLDED, Fact, Rounds, RoundState, fold, to_submission, without_answers
from validator.rounds.types import Submission

LASTING = ("KeyEpochPublished", "KeyGranted", "PeerAnnounced", "StakeWithdrawn", "ValidatorJoined")
"""Events that are few, and asked for in every tick."""
WHOLE_ROUNDS = 8
"""So many of the newest rounds are kept with every answer, and besides all that answers can still come for."""
SUBMITTED = "ContributionSubmitted"
PAGE = 4096


class BrokenJournal(ValidatorError):
    """The journal's events are not a whole history."""


class Chronicle:
    """A node's view of the journal's events. `forget` after a rollback; otherwise events only ever grow."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.forget()

    def forget(self) -> None:
        """Read everything again at the next look."""
        self._read_to = -1
        self._lasting: dict[str, list[Fact]] = {name: [] for name in LASTING}
        self._rounds = Rounds()
        self._settled_to = 0
        self._first_id = 1
        self._waiting: list[Submission] = []

    def facts(self, name: str) -> list[Fact]:
        """Events of one of the names in LASTING, in chain order."""
        self._catch_up()
        return self._lasting[name]

    def since(self, block: int, *names: str) -> Iterator[Fact]:
        """Events of some names above a block and up to `read_to`, in chain order, out of the journal."""
        last = self.read_to
        for row in self._journal.each_event(*names, after_block=block):
            if row.block > last:
                return
            yield to_fact(row)

    @property
    def read_to(self) -> int:
        """The block up to which this view goes."""
        self._catch_up()
        return self._read_to

    def rounds(self) -> Mapping[int, RoundState]:
        """Every round as the events tell it, by number; those long past `without_answers`."""
        self._catch_up()
        return self._rounds.by_number

    def members(self) -> Mapping[str, tuple[str, int]]:
        """(signing address, weight) of every operator that ever joined, as of now."""
        self._catch_up()
        return self._rounds.members

    @property
    def first_waiting(self) -> int:
        """The first contribution that no final round has judged."""
        self._catch_up()
        return self._first_id

    def submissions(self, first_id: int, end_id: int | None = None) -> list[Submission]:
        """Contributions with ids in [first_id, end_id), or all from `first_id` on, in order. Those of a final round
        come out of the journal.
        """
        self._catch_up()
        start = first_id - self._first_id
        if start < 0:
            return [item for page in self.pages(first_id, end_id) for item in page]
        return self._waiting[start:] if end_id is None else self._waiting[start : end_id - self._first_id]

    def pages(self, first_id: int, end_id: int | None = None) -> Iterator[list[Submission]]:
        """The same out of the journal, however many there are: PAGE of them at a time."""
        while end_id is None or first_id < end_id:
            most = PAGE if end_id is None else min(PAGE, end_id - first_id)
            rows = self._journal.events_by_place(SUBMITTED, first_id - 1, most)
            page = [to_submission(lower_addresses(row.args)) for row in rows]
            if page and (page[0].id, page[-1].id) != (first_id, first_id + len(page) - 1):
                raise broken(page[0].id)
            if page:
                yield page
            if len(page) < most:
                return
            first_id += len(page)

    def _catch_up(self) -> None:
        mark = self._journal.mark()
        if mark is None or mark.number == self._read_to:
            return
        try:
            self._read(self._read_to, mark.timestamp)
        except BaseException:
            self.forget()  # half of it may have been taken in
            raise
        self._read_to = mark.number

    def _read(self, before: int, now: int) -> None:
        """Take in what stands above the block `before`; `now` is the time of the last one."""
        lasting = [to_fact(row) for row in self._journal.each_event(*LASTING, after_block=before)]
        for fact in lasting:
            self._lasting[fact.name].append(fact)
        told = map(to_fact, self._journal.each_event(*FOLDED, after_block=before))
        while some := list(islice(told, PAGE)):  # so that a long history is never held with every answer
            folded = fold(some, self._rounds)
            self._rounds = Rounds(self._past_let_go(folded.by_number, now), folded.members)
        if before < 0:  # a late answer may have stood behind what was let go of already
            self._settled_to = 0
        self._rounds = Rounds(self._past_let_go(self._rounds.by_number, now), self._rounds.members)
        self._take_up(before)
        self._let_go_of_judged()

    def _take_up(self, before: int) -> None:
        """Submissions above the block `before`; at the first look those that no final round has judged."""
        if before < 0:
            self._first_id = self._first_unjudged()
            self._waiting = [item for page in self.pages(self._first_id) for item in page]
            return
        for fact in map(to_fact, self._journal.each_event(SUBMITTED, after_block=before)):
            self._waiting.append(to_submission(fact.args))
            if self._waiting[-1].id != self._first_id + len(self._waiting) - 1:
                raise broken(self._waiting[-1].id)

    def _past_let_go(self, rounds: Mapping[int, RoundState], now: int) -> Mapping[int, RoundState]:
        """The rounds, without the answers of those that are over and for which none can come any more."""
        found, newest = dict(rounds), max(rounds, default=0)
        while self._settled_to + 1 <= newest - WHOLE_ROUNDS:
            state = found.get(self._settled_to + 1)
            if state is not None:
                if not (state.final or state.abandoned) or now <= state.attest_deadline:
                    break
                found[state.round] = without_answers(state)
            self._settled_to += 1
        return found

    def _let_go_of_judged(self) -> None:
        """Rounds are final in their order, so whatever is below the last final one's end has been judged."""
        first = self._first_unjudged()
        del self._waiting[: first - self._first_id]
        self._first_id = first

    def _first_unjudged(self) -> int:
        return max((state.end_id for state in self._rounds.by_number.values() if state.final is not None), default=1)


def broken(id_: int) -> BrokenJournal:
    """What to say of a journal whose contributions have a gap before `id_`."""
    return BrokenJournal(
        f"the journal lacks contributions before {id_}: set the node's journal aside, it is built anew from the chain"
    )


def to_fact(row: Row) -> Fact:
    """A journalled event in the terms of the rules: addresses in lower case, so that equal means equal."""
    return Fact(row.name, {key: lower_addresses(value) for key, value in row.args.items()})


def lower_addresses(value: Any) -> Any:  # noqa: ANN401 - event arguments are what the ABI says
    """Checksummed addresses inside event arguments to lower case."""
    if isinstance(value, str) and len(value) == 42 and value.startswith("0x"):
        return value.lower()
    if isinstance(value, dict):
        return {key: lower_addresses(item) for key, item in value.items()}
    return value
