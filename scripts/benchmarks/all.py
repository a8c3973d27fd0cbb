"""Every benchmark once, one after the other, as one dated record: docs/performance.md and its plots.

Each part is what `scripts/bench PART` prints; the gas is what `scripts/contracts check` holds every commit to. What a
part printed is kept in `.bench/performance`, so that `--parts` measures some anew and takes the others as they were:
each says when it was measured, and how busy the machine was.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import round as rounds
from measure import machine
from performance_plots import gas_plot, growth_plot

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "performance.md"
KEPT = ROOT / ".bench" / "performance"
SNAPSHOTS = ROOT / "contracts" / "snapshots"
CALLS = ("submit", "reportAvailability", "commit", "attest", "finalise", "claim, first", "recordScore")
SIZES = ("1 by 3", "100 by 3", "10000 by 3", "10000 by 21")
PARTS: dict[str, tuple[str, ...]] = {
    "exact": (),
    "influence": ("--quick",),
    "content": (),
    "engine": (),
    "chain": (),
    "round": ("--json",),
    "response": ("--estimator", "response", "--most", "1000", "--json"),
}
SCRIPTS = {"response": "round"}
TITLES = {"response": "Round by `response`"}
"""Of parts that are not simply their script's."""
ABOUT = {
    "exact": "Exact arithmetic against plain float32 ([what it is](exact-arithmetic.md)).",
    "influence": "What an estimator costs; how well each attributes is in [influence-bench.md](influence-bench.md).",
    "content": "Verified content and envelopes against the bare primitive below each ([content.md](content.md)).",
    "engine": "One round scored by several workers ([ADR 15](decisions/0015-engines.md)).",
    "chain": "Events read from a chain, against a bare loop of `get_logs` ([chain-faults.md](chain-faults.md)).",
    "round": "A whole round, from submitted contributions to a final score, by its number of contributions.",
    "response": "The same by the estimator that pays by default, its runs bounded as they are by default "
    "([scoring.md](scoring.md)); 10,000 contributions with shorter runs: [chain-faults.md](chain-faults.md).",
}
GROWTH = {"round": "performance-round.svg", "response": "performance-response.svg"}
GAS_PLOT = "performance-gas.svg"
PLOTS = {
    GROWTH["round"]: "Time and memory of a round against its number of contributions",
    GROWTH["response"]: "The same of a round by the estimator that pays by default",
    GAS_PLOT: "Gas of each call for 1, 100 and 10,000 contributions: nearly flat",
}
"""What each shows, for whoever cannot see it."""
INTRODUCTION = """\
# Performance

What `./scripts/bench all` found on the machine below: every part in turn, each ratio measured side by side in one run.
Each part says when it was measured and how busy the machine was. Numbers of another machine differ; the ratios and the
exponent are what to compare.
"""


def measure(part: str) -> None:
    """Keep what a part prints. Raises SystemExit if it fails, whose last words are on standard error then."""
    command = [sys.executable, str(Path(__file__).with_name(f"{SCRIPTS.get(part, part)}.py")), *PARTS[part]]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, cwd=ROOT)
    if done.returncode:
        raise SystemExit(f"{Path(command[1]).name} {' '.join(PARTS[part])} ended with exit code {done.returncode}")
    KEPT.mkdir(parents=True, exist_ok=True)
    (KEPT / part).write_text(done.stdout)


def kept(part: str, folder: Path) -> str:
    """The part as it was measured last, Markdown."""
    text = (KEPT / part).read_text()
    return round_of(text, folder / GROWTH[part]) if part in GROWTH else text


def gas() -> dict[str, dict[str, int]]:
    """Gas of each call by `<contributions> by <validators>`."""
    tables = {call: json.loads((SNAPSHOTS / f"{call}.json").read_text()) for call in CALLS}
    return {call: {size: int(table[size]) for size in SIZES} for call, table in tables.items()}


def gas_table(costs: dict[str, dict[str, int]]) -> str:
    """Markdown."""
    lines = ["| call | " + " | ".join(SIZES) + " |", "|---|" + "---:|" * len(SIZES)]
    lines += [f"| {call} | " + " | ".join(f"{cost[size]:,}" for size in SIZES) + " |" for call, cost in costs.items()]
    return "\n".join(lines)


def document(told: dict[str, str]) -> str:
    """The whole record."""
    where = machine()
    parts = [
        INTRODUCTION.strip(),
        f"{where['date']}: {where['cpu']}, {where['cores']} cores, Python {where['python']}, torch {where['torch']}.",
    ]
    for part, text in told.items():
        body = text.replace("\n## ", "\n### ").removeprefix("## ").split("\n", 1)[-1].strip()
        parts.append(f"## {TITLES.get(part, part.capitalize())}\n\n{ABOUT[part]}\n\n{body}")
        if part in GROWTH:
            parts.append(f"![{PLOTS[GROWTH[part]]}]({GROWTH[part]})")
    parts.append(
        "## Gas\n\nOf a call as a transaction, by contributions and validators; more in [gas.md](gas.md).\n\n"
        + gas_table(gas())
    )
    parts.append(f"![{PLOTS[GAS_PLOT]}]({GAS_PLOT})")
    return "\n\n".join(parts) + "\n"


def round_of(text: str, plot: Path) -> str:
    """The table of `scripts/bench round --json`, and its plot."""
    found: dict[str, Any] = json.loads(text)
    rows = [rounds.Measured(**row) for row in found["rows"]]
    growth_plot(found["rows"], found["exponents"]["wall"]["all"], plot)
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        given = (found["estimator"], found.get("params") or rounds.ESTIMATORS[found["estimator"]], found["records"])
        rounds.report(rows, *given, as_json=False, where=found["machine"])
    return told.getvalue()


def main() -> None:
    """Run everything and write the record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--parts", nargs="*", default=list(PARTS), choices=list(PARTS), help="measure only these anew, or none"
    )
    parser.add_argument("--out", type=Path, default=DOCUMENT, help="the record; its plots go beside it")
    given = parser.parse_args()
    for number, part in enumerate(given.parts, start=1):
        print(f"[{number}/{len(given.parts)}] {part}, load {os.getloadavg()[0]:.1f}", file=sys.stderr, flush=True)
        measure(part)
    told = {part: kept(part, given.out.parent) for part in PARTS if (KEPT / part).exists()}
    gas_plot(gas(), given.out.with_name(GAS_PLOT))
    given.out.write_text(document(told))
    print(f"written to {given.out}", file=sys.stderr)


if __name__ == "__main__":
    main()
