"""How far two processors are apart, as the bench of exact arithmetic says it."""

from __future__ import annotations

import os

import pytest

pytest.importorskip("numba", reason="the game is compiled by numba")
import processors


def test_round_trip__two_processors__takes_nanoseconds_and_leaves_this_thread_where_it_may_run():
    before = os.sched_getaffinity(0)
    found = processors.round_trip()
    assert os.sched_getaffinity(0) == before
    assert found is None or 1e-9 < found < 1e-4  # None where others kept them busy, or there is one


def test_round_trip__one_processor__is_not_measured(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(processors.os, "sched_getaffinity", lambda pid: {0})
    assert processors.round_trip() is None


def test_play__nobody_answers__is_given_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(processors, "_play", lambda flag, first, rounds: rounds == 0)
    assert processors.round_trip() is None
