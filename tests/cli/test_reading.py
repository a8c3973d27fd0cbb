"""The bar while a long chain is read."""

from __future__ import annotations

import io

from rich.console import Console

from validator.cli import reading
from validator.cli.reading import Reading


def drawn(terminal: bool, *told: tuple[int, int]) -> str:
    said = io.StringIO()
    bar = Reading(Console(file=said, force_terminal=terminal, width=100))
    for block, finalised in told:
        bar(block, finalised)
    assert bar._bar is None, "it was left running"
    return said.getvalue()


def test_reading__takes_long__shows_how_far_it_is_and_ends(monkeypatch):
    monkeypatch.setattr(reading, "SHOW_AFTER_SECONDS", -1.0)
    said = drawn(True, (1_000, 9_000), (5_000, 9_000), (9_000, 9_000))
    assert "reading blocks" in said
    assert "/8000" in said


def test_reading__is_over_at_once_or_nobody_watches__shows_nothing(monkeypatch):
    assert drawn(True, (1_000, 9_000), (9_000, 9_000)) == ""
    monkeypatch.setattr(reading, "SHOW_AFTER_SECONDS", -1.0)
    assert drawn(False, (1_000, 9_000), (9_000, 9_000)) == ""
