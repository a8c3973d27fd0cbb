"""How things are timed and told: alternating repeats, medians with their spread, and the machine they were taken on.

What is compared runs turn by turn within one process, so that a machine that slows down slows all of them down.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

LEAST_REPEATS, LEAST_SECONDS = 7, 0.02
WARM_ROUNDS, WARM_SECONDS = 10, 1.0
"""Rounds before the first that counts, at most, and what one may take for another to follow it."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of one run: median, and the quartiles' distance from each other, over `repeats`."""

    median: float
    spread: float
    repeats: int


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: what was done, how long it took, and what else is to be said of it."""

    what: str
    timing: Timing
    note: str = ""


def compare(works: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, Timing]:
    """Time each of `works` `repeats` times, in turns; each time for at least LEAST_SECONDS."""
    return {name: timing(seconds) for name, seconds in samples(works, repeats).items()}


def samples(
    works: Mapping[str, Callable[[], object]],
    repeats: int,
    within: Mapping[str, Callable[[], AbstractContextManager[object]]] | None = None,
) -> dict[str, list[float]]:
    """The seconds behind `compare`, in the order of the turns. A work named in `within` runs in such a context, which
    is entered once for all loops of a turn and not timed.
    """
    around = {name: (within or {}).get(name, nullcontext) for name in works}
    loops = {name: max(1, round(LEAST_SECONDS / seconds)) for name, seconds in _warmed(works, around).items()}
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            with around[name]():
                taken[name].append(_run(work, loops[name]))
    return taken


def _warmed(
    works: Mapping[str, Callable[[], object]], around: Mapping[str, Callable[[], AbstractContextManager[object]]]
) -> dict[str, float]:
    """Seconds of one run of each, when it is warm: caches, threads, lazy imports, memory that the system has to find.
    All run in turns, each for at least LEAST_SECONDS, until a round makes none of them a twentieth faster.
    """
    best = dict.fromkeys(works, float("inf"))
    for _ in range(WARM_ROUNDS):
        before = dict(best)
        for name, work in works.items():
            with around[name]():
                best[name] = min(best[name], _run_for(work, LEAST_SECONDS))
        if all(best[name] > 0.95 * before[name] for name in works) or sum(best.values()) > WARM_SECONDS:
            break
    return {name: max(seconds, 1e-7) for name, seconds in best.items()}


def _run_for(work: Callable[[], object], seconds: float) -> float:
    begun, loops = time.perf_counter(), 0
    while loops == 0 or time.perf_counter() - begun < seconds:
        work()
        loops += 1
    return (time.perf_counter() - begun) / loops


def _run(work: Callable[[], object], loops: int) -> float:
    begun = time.perf_counter()
    for _ in range(loops):
        work()
    return (time.perf_counter() - begun) / loops


def timing(seconds: Sequence[float]) -> Timing:
    """Median and quartiles' distance; of ratios as well as of seconds."""
    lower, _, upper = statistics.quantiles(seconds, n=4)
    return Timing(statistics.median(seconds), upper - lower, len(seconds))


def machine() -> dict[str, Any]:
    """When and where: what a table is worth nothing without."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _cpu() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def parser_of(about: str, threads: int = 1) -> argparse.ArgumentParser:
    """The options that every benchmark has; `threads` is the default."""
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("--repeats", type=int, default=LEAST_REPEATS, help=f"at least {LEAST_REPEATS}")
    parser.add_argument("--threads", type=int, default=threads, help=f"threads of torch; {threads} by default")
    return parser


def arguments(about: str) -> argparse.Namespace:
    """Parse the options that every benchmark has, and heed them."""
    return heeded(parser_of(about))


def heeded(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse, check, and set torch's threads."""
    given = parser.parse_args()
    if given.repeats < LEAST_REPEATS or given.threads < 1:
        parser.error(f"--repeats must be at least {LEAST_REPEATS}, --threads at least 1")
    torch.set_num_threads(given.threads)
    return given


def report(title: str, rows: Sequence[Row], as_json: bool) -> None:
    """Print the table as Markdown, or everything as JSON."""
    if as_json:
        sys.stdout.write(
            json.dumps({"title": title, "machine": machine(), "rows": [asdict(row) for row in rows]}) + "\n"
        )
        return
    heading(title, min(row.timing.repeats for row in rows))
    print("| what | median | IQR | |\n|---|---:|---:|---|")
    for row in rows:
        print(f"| {row.what} | {in_words(row.timing.median)} | {in_words(row.timing.spread)} | {row.note} |")


def heading(title: str, repeats: int) -> None:
    """Print the title, the date, the machine, and what the numbers are."""
    where = machine()
    print(f"## {title}\n")
    print(
        f"{where['date']}, {where['cpu']}, {where['cores']} cores at load {where['load']}, "
        f"{where['threads']} thread(s), Python {where['python']}, torch {where['torch']}; median and interquartile "
        f"range of {repeats} repeats in turns\n"
    )


def in_words(value: float) -> str:
    """Seconds with a unit that suits them."""
    if value >= 1:
        return f"{value:.2f} s"
    return f"{value * 1e3:.2f} ms" if value >= 1e-3 else f"{value * 1e6:.1f} µs"
