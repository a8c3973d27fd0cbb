"""The digests of the golden file, computed anew in processes with other threads and instruction sets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.influence.golden import ESTIMATORS, GOLDEN, PROBLEMS

ROOT = Path(__file__).parents[2]
FEW = [("1", "default", "5"), ("2", "avx2", None)]
"""Threads, instruction set, records at a time (None: as many as the memory allows)."""
MANY = [(threads, cpu, chunk) for threads in ("1", "2") for cpu in ("default", "avx2") for chunk in ("1", None)]


def computed(threads: str, cpu: str, chunk: str | None) -> object:
    """What another process finds. "default" is torch's word for the code without AVX."""
    # Threads that spin while they wait would make a busy machine ten times slower.
    ours = {"DIGEST_THREADS": threads, "ATEN_CPU_CAPABILITY": cpu, "OMP_WAIT_POLICY": "PASSIVE"} | (
        {} if chunk is None else {"DIGEST_CHUNK": chunk}
    )
    done = subprocess.run(
        [sys.executable, "-m", "tests.influence.golden"],
        cwd=ROOT,
        env={**os.environ, **ours, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(("threads", "cpu", "chunk"), FEW)
def test_digests__threads_and_instruction_sets__are_the_golden_ones(threads: str, cpu: str, chunk: str | None) -> None:
    assert computed(threads, cpu, chunk) == json.loads(GOLDEN.read_text())


@pytest.mark.slow
@pytest.mark.parametrize(("threads", "cpu", "chunk"), MANY)
def test_digests__all_combinations__are_the_golden_ones(threads: str, cpu: str, chunk: str | None) -> None:
    assert computed(threads, cpu, chunk) == json.loads(GOLDEN.read_text())


def test_golden__file__covers_every_problem_and_estimator() -> None:
    expected = {f"{problem}: {estimator}" for problem in PROBLEMS for estimator in ESTIMATORS}
    assert set(json.loads(GOLDEN.read_text())["digests"]) == expected
