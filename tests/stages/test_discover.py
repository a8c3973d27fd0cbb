"""Reading on in bounded ticks, and nothing else before the end."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from validator.chain.follower import Batch, Checkpoint
from validator.journal import Journal
from validator.stages import discover, round
from validator.stages.node import Node


class Slow:
    """A follower that is always one block on and never at the end until it is allowed to."""

    def __init__(self) -> None:
        self.end = False

    def scan(self, checkpoint: Checkpoint | None, _earlier: object) -> Batch:
        number = checkpoint.number + 1 if checkpoint else 1
        return Batch((), Checkpoint(number, bytes(32)), 1_000, number if self.end else 1_000, timestamp=number)


def test_tick__long_chain__reads_for_its_time_and_does_nothing_else_until_it_is_caught_up(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(discover, "SCAN_SECONDS", 0.0)
    did: list[str] = []
    monkeypatch.setattr(round.history, "check", lambda node: did.append("more"))
    parts, follower = cast(Any, SimpleNamespace()), cast(Any, Slow())
    node = Node(parts, parts, parts, follower, Journal(tmp_path / "journal.sqlite"), parts)
    round.tick(node)
    first = node.journal.mark()
    assert first is not None
    assert did == []
    monkeypatch.setattr(round.advance, "run", lambda node: None)
    follower.end = True
    round.tick(node)
    assert did == ["more"]
    assert node.journal.mark().number > first.number  # type: ignore[union-attr]
