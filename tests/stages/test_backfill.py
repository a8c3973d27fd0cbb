"""What the log says while a node reads a long chain."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from validator.stages import backfill
from validator.stages.backfill import LOG_SECONDS, Backfill


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    log = SimpleNamespace(info=lambda event, **told: lines.append({"event": event, **told}))
    monkeypatch.setattr(backfill, "log", log)
    return lines


def test_reached__long_read__is_told_now_and_then_with_the_time_that_is_left(said: list[dict[str, Any]]):
    clock = Clock()
    progress = Backfill(clock)
    progress.reached(0, 100_000)
    for step in range(1, 11):
        clock.now += LOG_SECONDS / 2
        progress.events += 7
        progress.reached(step * 10_000, 100_000)
    progress.ended(100_000)
    assert [line["event"] for line in said] == ["catching up"] * 4 + ["caught up"]
    assert (said[0]["block"], said[0]["of"], said[0]["eta_seconds"]) == (20_000, 100_000, 40)
    assert said[0]["blocks_per_second"] == 2_000
    assert (said[-1]["events"], said[-1]["seconds"]) == (70, 50.0)


def test_reached__a_few_blocks_behind__says_nothing(said: list[dict[str, Any]]):
    clock = Clock()
    progress = Backfill(clock)
    for block in range(50):
        clock.now += LOG_SECONDS
        progress.reached(block, 60)
    progress.ended(60)
    assert said == []
