"""Influence estimators side by side with their peers: agreement with retraining, wrong labels found, time and memory.

Every method runs in a process of its own, with one thread, peers in environments of their own (see peers/). The truth
comes from `.bench/`, or is made there first, which takes minutes on one core.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from typing import Any

from influence_cost import costs
from influence_methods import ALL, OURS, OWN, YARDSTICK, YARDSTICKS, Entry, estimator, mean_of
from influence_metrics import ceiling, split_half
from influence_report import attribution, opening, response, scoring, verdicts
from influence_response import referee
from influence_runs import measure_all
from influence_tasks import TASKS, truth
from measure import heeded, machine, parser_of

SMALL = {"inputs": 64, "hidden": [128], "classes": 10, "activation": "relu"}
WIDE = {"inputs": 784, "hidden": [1024, 1024], "classes": 10, "activation": "relu"}
FLIPPED = ("digits", "quick")


def parser() -> argparse.ArgumentParser:
    """What can be chosen."""
    found = parser_of(__doc__ or "")
    found.add_argument("--quick", action="store_true", help="a small task and no peers: a smoke run")
    found.add_argument("--no-peers", action="store_true", help="ours and the yardsticks only")
    found.add_argument("--tasks", nargs="*", choices=list(TASKS), default=["digits", "mnist"])
    found.add_argument("--only", default="", help="methods whose name holds this, and nothing else")
    found.add_argument("--jobs", type=int, default=2, help="processes at a time; 2 by default")
    found.add_argument(
        "--estimator",
        action="append",
        default=[],
        metavar="JSON",
        help="""one more of ours, like {"estimator": "classical", "damping": 0.3}, per query and for the mean""",
    )
    return found


def entries(given: argparse.Namespace) -> list[Entry]:
    """The rows that were asked for."""
    asked: list[Entry] = []
    for text in given.estimator:
        params = json.loads(text)
        name = params.pop("estimator")
        asked += [estimator(name, **params), mean_of(name, **params)]
    listed = [*OWN, *YARDSTICKS] if given.quick or given.no_peers else list(ALL)
    return [*asked, *(entry for entry in listed if given.only in entry.name)]


def ordered(row: Any) -> tuple[int, float, float]:  # noqa: ANN401 - a Measured
    """Ours, yardsticks, peers; the best first, those for the mean objective after those per query."""
    kind = {OURS: 0, YARDSTICK: 1}.get(row.entry.of, 2)
    return kind, -(row.per_query if row.per_query is not None else -1.0), -(row.mean_objective or 0.0)


def main() -> None:
    """Measure and print."""
    given = heeded(parser())
    names = ["quick"] if given.quick else given.tasks
    tasks = {name: truth(name) for name in names}
    rows = measure_all(entries(given), tasks, FLIPPED, given.jobs)
    sizes = () if given.only else (SMALL,) if given.quick else (SMALL, WIDE)
    passes = [cost for config in sizes for cost in costs(config, given.repeats)]
    judge = [] if given.only else referee(given.repeats)
    if given.json:
        found = {"title": "Influence estimators", "machine": machine(), "rows": [asdict(row) for row in rows]}
        found |= {"scoring": [asdict(c) for c in passes], "response": [asdict(row) for row in judge]}
        found["truth"] = {
            name: {"halves": asdict(split_half(t["by_seed"])), "ceiling": asdict(ceiling(t["by_seed"]))}
            for name, t in tasks.items()
        }
        sys.stdout.write(json.dumps(found) + "\n")
        return
    print(opening(given.jobs))
    for name, task in tasks.items():
        mine = sorted((row for row in rows if row.task == name), key=ordered)
        print(attribution(name, task["recipe"], split_half(task["by_seed"]), ceiling(task["by_seed"]), mine))
        print(verdicts(mine))
    if not given.only:
        print(scoring(passes, given.repeats))
        print(response(judge))


if __name__ == "__main__":
    main()
