"""What is compared, and what is said of it."""

from __future__ import annotations

from typing import Any

import pytest
from influence_methods import ALL, OURS, PEERS, YARDSTICKS, Entry, estimator, mean_of
from influence_peers import HERE
from influence_report import line, verdicts
from influence_runs import Measured


def row(entry: Entry, per_query: float, **others: Any) -> Measured:
    return Measured(entry, "digits", per_query, 0.5, cpu_s=others.get("cpu_s", 1.0), grown_mb=10.0)


def test_verdicts__classical_below_a_peer__is_said_to_miss() -> None:
    rows = [row(estimator("classical"), 0.7), row(PEERS[0], 0.75, cpu_s=20.0), row(YARDSTICKS[0], 0.71)]

    said = verdicts(rows).splitlines()

    assert said[0].startswith("- `classical` >= 0.97 of the best dense GGN influence: met (0.986)")
    assert said[1].startswith("- `classical` above every peer: MISSED (0.700 against 0.750")
    assert said[2].startswith("- a tenth of the time and memory of dattri CG")
    assert said[2].endswith("MISSED (0.05 of the CPU time, 1.00 of the memory above start)")


def test_line__refused_method__tells_the_reason_in_every_column_s_place() -> None:
    text = line(Measured(mean_of("bayesian"), "digits", refused="no such | estimator"))

    assert "not run: no such / estimator" in text
    assert text.count("|") == line(row(YARDSTICKS[0], 0.7)).count("|")


@pytest.mark.parametrize("entry", ALL, ids=lambda entry: entry.name)
def test_entries__every_method__has_a_runner_and_peers_a_pinned_file(entry: Entry) -> None:
    assert (HERE / entry.script).exists()
    if entry in PEERS:
        pinned = (HERE / "peers" / f"{entry.of}.txt").read_text().splitlines()
        assert all("==" in text for text in pinned if not text.startswith("#"))
    elif entry.of == OURS:
        assert "estimator" in entry.params
