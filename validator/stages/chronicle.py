"""Finalised events in memory, in the terms of the rules: read from the journal once, then only what is new."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from validator.journal import Journal
from validator.journal.database import Row
from validator.rounds.lifecycle import Fact, Rounds, RoundState, fold


class Chronicle:
    """A node's view of the journal's events. `forget` after a rollback; otherwise events only ever grow."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.forget()

    def forget(self) -> None:
        """Read everything again at the next look."""
        self._read_to = -1
        self._by_name: dict[str, list[Fact]] = {}
        self._all: list[Fact] = []
        self._rounds = Rounds()

    def facts(self, name: str) -> list[Fact]:
        """Events of one name, in chain order."""
        self._catch_up()
        return self._by_name.get(name, [])

    def all(self) -> list[Fact]:
        """Every event, in chain order."""
        self._catch_up()
        return self._all

    def rounds(self) -> Mapping[int, RoundState]:
        """Every round as the events tell it, by number."""
        self._catch_up()
        return self._rounds.by_number

    def members(self) -> Mapping[str, tuple[str, int]]:
        """(signing address, weight) of every operator that ever joined, as of now."""
        self._catch_up()
        return self._rounds.members

    def _catch_up(self) -> None:
        mark = self._journal.mark()
        if mark is None or mark.number == self._read_to:
            return
        new = [to_fact(row) for row in self._journal.events(after_block=self._read_to)]
        self._all += new
        for fact in new:
            self._by_name.setdefault(fact.name, []).append(fact)
        self._rounds = fold(new, self._rounds)
        self._read_to = mark.number


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
