"""Run methods on tasks, one process each, and judge what they say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from influence_methods import OURS, YARDSTICK, Entry
from influence_metrics import lds, mislabel_auc
from influence_peers import CACHE, HERE, NotInstalled, last_line, python_of
from influence_tasks import Truth

LIMIT_SECONDS = 900


@dataclass(frozen=True, slots=True)
class Measured:
    """One method on one task. Rank correlations and the area are None where the method gives none; seconds and MB are
    those of the run that the correlations come from; `refused` says why there is no run.
    """

    entry: Entry
    task: str
    per_query: float | None = None
    mean_objective: float | None = None
    auc: float | None = None
    fit_s: float = 0.0
    score_s: float = 0.0
    cpu_s: float = 0.0
    process_cpu_s: float = 0.0
    peak_mb: float = 0.0
    grown_mb: float = 0.0
    records_s: float = 0.0
    refused: str = ""


class Failed(Exception):
    """A run that gave no result, and its last words."""


def measure_all(entries: Sequence[Entry], tasks: dict[str, Truth], flipped: Sequence[str], jobs: int) -> list[Measured]:
    """Every entry on every task, `jobs` at a time; the area is measured on the tasks named in `flipped`."""
    paths = {name: CACHE / "truth" / f"{name}.pt" for name in tasks}
    works = [(entry, name) for name in tasks for entry in entries]

    def measure(work: tuple[Entry, str]) -> Measured:
        entry, name = work
        found = measured(entry, name, tasks[name], paths[name], name in flipped)
        print(f"{name}: {entry.name}: {found.refused or f'{found.cpu_s:.1f} s'}", file=sys.stderr)
        return found

    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(measure, works))


def measured(entry: Entry, name: str, truth: Truth, path: Path, flipped: bool) -> Measured:
    """One entry on one task; a failure is a result too."""
    try:
        python = sys.executable if entry.of in (OURS, YARDSTICK) else python_of(entry.of)
        found, cpu = run(entry, python, path, False)
        agreement = lds(found["values"], truth["masks"], truth["errors" if entry.errors else "losses"])
        area = None
        if flipped:
            area = mislabel_auc(run(entry, python, path, True)[0]["values"], truth["flipped"])
    except (Failed, NotInstalled) as error:
        return Measured(entry, name, refused=str(error))
    return Measured(
        entry,
        name,
        None if entry.mean else agreement.per_query,
        agreement.mean_objective,
        area,
        found["fit_s"],
        found["score_s"],
        found["cpu_s"],
        cpu,
        found["peak_mb"],
        found["peak_mb"] - found["start_mb"],
        len(truth["targets"]) / found["score_s"],
    )


def run(entry: Entry, python: str, path: Path, flipped: bool) -> tuple[dict[str, Any], float]:
    """What the worker wrote, and the CPU seconds of its whole process. Raises Failed."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.pt"
        command = [python, str(HERE / entry.script), entry.method, str(path), str(out)]
        command += ["--params", json.dumps(entry.params), *(["--flipped"] if flipped else [])]
        code, cpu, said = _process(command, Path(folder) / "stderr")
        if code or not out.exists():
            raise Failed(last_line(said)[:200] or f"exited with {code}")
        return torch.load(out, weights_only=True), cpu


def _process(command: list[str], words: Path) -> tuple[int, float, str]:
    """Exit code, CPU seconds and standard error of a process with one thread, which is ended after LIMIT_SECONDS."""
    surroundings = os.environ | {"PYTHONPATH": f"{HERE}:{HERE.parents[1]}", "OMP_NUM_THREADS": "1"}
    surroundings |= {"TQDM_DISABLE": "1", "PYTHONWARNINGS": "ignore"}
    with words.open("w") as written:
        started = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=written, env=surroundings)
        alarm = threading.Timer(LIMIT_SECONDS, started.kill)
        alarm.start()
        _, status, usage = os.wait4(started.pid, 0)
        alarm.cancel()
    started.returncode = os.waitstatus_to_exitcode(status)
    return started.returncode, usage.ru_utime + usage.ru_stime, words.read_text(errors="replace")
