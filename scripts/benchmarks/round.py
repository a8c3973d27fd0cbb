"""A whole round by one validator, for 10 to 10,000 contributions: seconds, memory, and how they grow.

It begins with the last submission. The chain is an anvil, the content store the embedded one; the node reads the chain,
closes the round, fetches, reports, opens, judges, commits, attests and finalises, in a process of its own for each
number of contributions. `response` trains each on top of those accepted before it, so the table says how many were.
What a process needs before it has seen any contribution (the first compilation of kernels among it) is in the seconds
and in the memory; an exponent is the slope of a line through the logarithms, of all sizes and of the two largest.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from measure import machine

sys.path.insert(0, str(Path(__file__).parents[2]))

SIZES = (10, 100, 1_000, 10_000)
ESTIMATORS: dict[str, dict[str, int]] = {
    "classical": {"iterations": 1, "folds": 2},
    "response": {},
}
"""Parameters that are not the defaults."""
INPUTS, CLASSES = 64, 10
POLL_SECONDS, PATIENCE_SECONDS = 0.2, 6 * 3_600.0
LONG = {"report_seconds": 86_400, "commit_seconds": 86_400, "attest_seconds": 86_400, "exit_seconds": 30 * 86_400}
MANIFEST = """
name = "bench"
[model]
family = "mlp"
config = {{ inputs = {inputs}, hidden = [16], classes = {classes}, activation = "relu" }}
[estimator]
name = "{estimator}"
[estimator.params]
{params}
[payload]
format = "safetensors"
dtype = "float32"
shape = [{inputs}]
minimum = "-9"
maximum = "9"
classes = {classes}
[limits]
envelope_bytes = 1048576
min_records = 1
max_records = 4096
[scoring]
objective = "expected_error"
kappa_milli = 0
floor = 0
contribution_cap = 1000000000
memory_records = 1000
[rewards]
full_pool_score = 1
contributor_cap_bps = 10000
"""


@dataclass(frozen=True, slots=True)
class Measured:
    """One round: seconds by the wall and of processors (the parsing worker's among them), MiB of resident memory before
    the first event was read and at the peak, bytes of all envelopes, of the bundle and of the journal, and how many
    contributions were accepted (None in records of before that was counted).
    """

    contributions: int
    wall: float
    processor: float
    before: float
    peak: float
    envelopes: int
    bundle: int
    journal: int
    accepted: int | None = None


def exponent(sizes: Sequence[int], values: Sequence[float]) -> float:
    """Slope of the line of least squares through the logarithms."""
    xs, ys = [math.log(size) for size in sizes], [math.log(value) for value in values]
    middle, level = sum(xs) / len(xs), sum(ys) / len(ys)
    rise = sum((x - middle) * (y - level) for x, y in zip(xs, ys, strict=True))
    return rise / sum((x - middle) ** 2 for x in xs)


def measured(count: int, estimator: str, params: Mapping[str, int], records: int, folder: Path) -> Measured:
    """Found a DAO, fill its first round, and have it judged by a fresh process."""
    import numpy as np

    from tests.faults.anvil import Anvil
    from tests.faults.crowd import ACCOUNTS, OPTIONS, submit_all
    from tests.support import World
    from validator.exact.random import Stream
    from validator.influence.models import build, dump_weights, initialise
    from validator.payload import encode_safetensors

    rng, teacher = np.random.default_rng(7), np.random.default_rng(1).normal(size=(INPUTS, CLASSES))

    def labelled(many: int) -> bytes:
        inputs = rng.normal(size=(many, INPUTS)).clip(-9, 9).astype(np.float32)
        return encode_safetensors(inputs, (inputs @ teacher).argmax(1))

    class Filled(World):
        options: ClassVar[dict[str, str | int | float]] = {"stagger_seconds": 0.0, "rpc_timeout": 120.0}

        def write_dao(self, folder: Path) -> None:
            folder.mkdir(parents=True, exist_ok=True)
            lines = "\n".join(f"{key} = {value}" for key, value in params.items())
            given = {"estimator": estimator, "params": lines, "inputs": INPUTS, "classes": CLASSES}
            (folder / "manifest.toml").write_text(MANIFEST.format(**given))
            shape = {"inputs": INPUTS, "hidden": [16], "classes": CLASSES, "activation": "relu"}
            model = build("mlp", shape)
            initialise(model, Stream(b"bench", "model"))
            (folder / "weights.safetensors").write_bytes(dump_weights(model))
            for name, many in (("anchor", 64), ("queries", 64)):
                (folder / f"{name}.safetensors").write_bytes(labelled(many))

    chain = Anvil(folder, *OPTIONS, accounts=ACCOUNTS)
    try:
        world = Filled(folder, capacity=count, chain=chain, **LONG)
        size = submit_all(world, chain, count, lambda: labelled(records))
        home = folder / world.names[0]
        command = [sys.executable, __file__, "--judge", str(home)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        journal = sum(file.stat().st_size for file in home.glob("journal.sqlite*"))
        return Measured(contributions=count, envelopes=size, journal=journal, **told)
    finally:
        chain.stop()


def judge(home: Path) -> None:
    """What the fresh process does: tick until the first round is final, and tell what it took."""
    import structlog
    import torch

    from validator.actions.connect import open_node
    from validator.settings import load_settings
    from validator.stages.round import tick

    quiet = structlog.make_filtering_bound_logger(logging.WARNING)
    structlog.configure(wrapper_class=quiet, logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    torch.set_num_threads(1)
    node = open_node(load_settings(home), dry_run=False)
    before, begun, spent = memory("VmRSS"), time.monotonic(), processor()
    while not (1 in node.chronicle.rounds() and node.chronicle.rounds()[1].final):
        if time.monotonic() - begun > PATIENCE_SECONDS:
            raise SystemExit("the round did not end")
        tick(node)
        time.sleep(POLL_SECONDS)
    wall, spent = time.monotonic() - begun, processor() - spent
    final = node.chronicle.rounds()[1].final
    from validator.stages.documents import read_evidence

    assert final is not None
    evidence = read_evidence(node.store, final["evidence"])
    bundle, accepted = len(evidence.to_bytes()), sum(line.payable > 0 for line in evidence.contributions)
    peak = memory("VmHWM")
    node.close()
    told = {"wall": wall, "processor": spent, "before": before, "peak": peak, "bundle": bundle, "accepted": accepted}
    sys.stdout.write(json.dumps(told) + "\n")


def memory(what: str) -> float:
    """MiB of this process by the kernel's count."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{what}:"))


def processor() -> float:
    """Seconds of processors so far, of this process and of those that it started and that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def report(
    rows: Sequence[Measured],
    estimator: str,
    params: Mapping[str, int],
    records: int,
    as_json: bool,
    where: dict[str, Any] | None = None,
) -> None:
    """Print the table as Markdown, or everything as JSON. `where`: the machine, by default this one now."""
    where = where or machine()
    sizes = [row.contributions for row in rows]
    growth = {}
    for name in ("wall", "processor", "peak"):
        values = [float(getattr(row, name)) for row in rows]
        growth[name] = {"all": exponent(sizes, values), "last": exponent(sizes[-2:], values[-2:])}
    if as_json:
        whole = {"title": "Round", "machine": where, "estimator": estimator, "params": params, "records": records}
        sys.stdout.write(json.dumps(whole | {"rows": [asdict(row) for row in rows], "exponents": growth}) + "\n")
        return
    unlike = ", ".join(f"`{key}` {value}" for key, value in params.items())
    print(f"## A round of {records} records a contribution by `{estimator}`\n")
    print(
        f"{where['date']}, {where['cpu']}, {where['cores']} cores at load {where['load']}, Python {where['python']}, "
        f"torch {where['torch']}, 1 thread; {records} records a contribution, `{estimator}` with "
        f"{f'{unlike}, otherwise ' if unlike else ''}its defaults\n"
    )
    counted = all(row.accepted is not None for row in rows)
    columns = ["contributions", *(["accepted"] if counted else []), "wall", "processor", "peak memory"]
    columns += ["processor a contribution", "peak above the least"]
    print("| " + " | ".join(columns) + " |")
    print("|" + "---:|" * len(columns))
    least = min(row.peak for row in rows)
    for row in rows:
        each, over = row.processor / row.contributions * 1e3, row.peak - least
        cells = [f"{row.contributions:,}", *([f"{row.accepted:,}"] if counted else [])]
        cells += [f"{row.wall:.1f} s", f"{row.processor:.1f} s", f"{row.peak:.0f} MiB", f"{each:.1f} ms"]
        cells.append(f"{over:.0f} MiB, {over * 1024 / row.contributions:.1f} KiB each")
        print("| " + " | ".join(cells) + " |")
    print("\n| grows with contributions to the power of | all sizes | the last two |\n|---|---:|---:|")
    for name, words in (("wall", "wall"), ("processor", "processor"), ("peak", "peak memory")):
        print(f"| {words} | {growth[name]['all']:.2f} | {growth[name]['last']:.2f} |")
    last = rows[-1]
    parts = {"envelopes": last.envelopes, "bundle": last.bundle, "journal": last.journal}
    told = ", ".join(f"{name} {size / last.contributions:,.0f}" for name, size in parts.items())
    print(f"\nBytes a contribution at {last.contributions:,}: {told}.")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument(
        "--most", type=int, default=SIZES[-1], help=f"contributions of the largest round: {SIZES[-1]:,}"
    )
    parser.add_argument("--estimator", choices=list(ESTIMATORS), default="classical")
    parser.add_argument("--most-steps", type=int, help="of a run of `response`; its default")
    parser.add_argument("--replicas", type=int, help="of `response`; its default")
    parser.add_argument("--records", type=int, default=32, help="records of a contribution: 32")
    parser.add_argument("--judge", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.judge is not None:
        judge(given.judge)
        return
    sizes = sorted({size for size in SIZES if size < given.most} | {given.most})
    if len(sizes) < 2 or given.records < 1:
        parser.error(f"--most must be above {SIZES[0]}, --records at least 1")
    asked = {"most_steps": given.most_steps, "replicas": given.replicas}
    params = ESTIMATORS[given.estimator] | {key: value for key, value in asked.items() if value is not None}
    rows = []
    for size in sizes:
        with tempfile.TemporaryDirectory() as name:
            rows.append(measured(size, given.estimator, params, given.records, Path(name)))
        print(f"{size:,} contributions: {rows[-1].wall:.1f} s, {rows[-1].peak:.0f} MiB", file=sys.stderr, flush=True)
    report(rows, given.estimator, params, given.records, given.json)


if __name__ == "__main__":
    main()
