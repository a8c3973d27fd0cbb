"""One training step of every family that is not built in has the bits of the golden file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from validator.exact import kernels

pytest.importorskip("transformers")

from tests.families import digests

ROOT = Path(__file__).resolve().parents[2]
HELD = json.loads(digests.GOLDEN.read_text())
ROWS = [("1", "default", "on"), ("2", "avx2", "off"), ("2", "avx512", "on")]
"""Threads, instruction set, kernels."""


def test_families__one_step_here__golden() -> None:
    assert digests.document() == HELD


def test_families__one_step_by_the_eager_code__golden() -> None:
    with kernels.reference():
        assert digests.document() == HELD


@pytest.mark.slow
@pytest.mark.parametrize(("threads", "aten", "fused"), ROWS)
def test_families__one_step_in_another_process__golden(threads: str, aten: str, fused: str) -> None:
    ours = {"DIGEST_THREADS": threads, "ATEN_CPU_CAPABILITY": aten, "DIGEST_KERNELS": fused}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.families.digests"],
        cwd=ROOT,
        env={**os.environ, **ours, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout) == HELD
