"""Every case: close to float64, the same bits in any layout and any split of the batch, and the golden digests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.exact.cases import CASES, Case
from validator.exact import VERSION, exact

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = json.loads((ROOT / "tests/golden/exact.json").read_text())

by_name = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))


def _assert_close(found: list[Tensor], expected: list[Tensor], tolerance: float) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == theirs.shape
        scale = float(theirs.abs().max()) + 1e-30
        assert float((ours.double() - theirs).abs().max()) <= tolerance * scale


@by_name
def test_case__against_plain_float64__within_rounding(case: Case) -> None:
    reference = case.outcome(case.inputs(torch.float64))
    with exact():
        single, double = case.outcome(case.inputs()), case.outcome(case.inputs(torch.float64))
    assert all(s.dtype == torch.float32 for s in single)
    # Inputs are float32 numbers in both, so what differs is our rounding: a few units of 2^-24 of the largest value.
    _assert_close(single, reference, case.tolerance)
    _assert_close(double, reference, 1e-13)


def _strided(x: Tensor) -> Tensor:
    """The same values with gaps between them and the dimensions stored in reverse."""
    dims = tuple(reversed(range(x.dim())))
    return x.permute(dims).repeat_interleave(2, 0).contiguous()[::2].permute(dims)


@by_name
def test_case__inputs_stored_with_strides__same_bits(case: Case) -> None:
    with exact():
        plain = case.outcome(case.inputs())
        strided = case.outcome([_strided(x) for x in case.inputs()])
    assert all(torch.equal(a, b) for a, b in zip(plain, strided, strict=True))


@pytest.mark.parametrize("case", [c for c in CASES if c.rowwise], ids=lambda case: case.name.replace(" ", "-"))
def test_rowwise_case__batch_in_pieces__same_bits(case: Case) -> None:
    first, *rest = case.inputs()
    with exact(), torch.no_grad():
        whole = case.run(first, *rest)
        pieces = [case.run(piece, *rest) for piece in first.split([1, 2, *[first.shape[0] - 3] * (first.shape[0] > 3)])]
    assert torch.equal(whole, torch.cat(pieces))


@pytest.mark.parametrize("threads", ["1", "2"])
@pytest.mark.parametrize(("torch_isa", "mkl_isa"), [("default", "SSE4_2"), ("avx2", "AVX2"), ("avx512", "AVX512")])
def test_digests__in_another_process_and_instruction_set__golden(torch_isa: str, mkl_isa: str, threads: str) -> None:
    environment = {
        **os.environ,
        "ATEN_CPU_CAPABILITY": torch_isa,
        "MKL_ENABLE_INSTRUCTIONS": mkl_isa,
        "DIGEST_THREADS": threads,
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.exact.digests"], cwd=ROOT, env=environment, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()  # batch splits are compared inside
    found = json.loads(done.stdout)
    changed = [name for name, value in GOLDEN["digests"].items() if found["digests"].get(name) != value]
    assert changed == []
    assert found == GOLDEN


def test_golden__version__is_the_protocol_version() -> None:
    assert GOLDEN["version"] == VERSION
