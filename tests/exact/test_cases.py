"""Every case: close to float64, the same bits in any layout and any split of the batch, and the golden digests."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from validator.exact import VERSION, exact, kernels
from validator.exact.conformance import cases
from validator.exact.conformance.case import Case
from validator.exact.conformance.golden import GOLDEN
from validator.exact.conformance.parity import first_difference

ROOT = Path(__file__).resolve().parents[2]
CASES = cases()
HELD = {
    "self-test": json.loads(GOLDEN.read_text()),
    "training": json.loads((ROOT / "tests/golden/exact.json").read_text()),
}

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


# Layouts


def _strided(x: Tensor) -> Tensor:
    """Gaps between the values, and the dimensions stored in reverse."""
    dims = tuple(reversed(range(x.dim())))
    return x.permute(dims).repeat_interleave(2, 0).contiguous()[::2].permute(dims)


def _transposed(x: Tensor) -> Tensor:
    """The last two dimensions stored the other way round."""
    return x.transpose(-1, -2).contiguous().transpose(-1, -2) if x.dim() > 1 else x


def _stepped(x: Tensor) -> Tensor:
    """Every third value of a longer tensor that begins elsewhere."""
    return torch.cat([x.new_full((*x.shape[:-1], 1), 9.0), x.repeat_interleave(3, -1)], -1)[..., 1::3]


def _channels_last(x: Tensor) -> Tensor:
    """Images with their channels innermost; anything else with its first dimension innermost."""
    return (
        x.contiguous(memory_format=torch.channels_last)
        if x.dim() == 4
        else x.movedim(0, -1).contiguous().movedim(-1, 0)
    )


def _expanded(x: Tensor) -> Tensor:
    """Its first row again and again, without memory for more than one."""
    return x[:1].expand_as(x)


@pytest.mark.parametrize("layout", [_strided, _transposed, _stepped, _channels_last, _expanded])
@pytest.mark.parametrize("eager", [False, True], ids=["kernels", "eager"])
def test_cases__inputs_stored_otherwise__same_bits(layout: Callable[[Tensor], Tensor], eager: bool) -> None:
    differing = {}
    for case in CASES:
        stored = [layout(x) for x in case.inputs()]
        with exact():
            plain = case.outcome([x.clone(memory_format=torch.contiguous_format) for x in stored])
            if eager:
                with kernels.reference():
                    found = case.outcome(stored)
            else:
                found = case.outcome(stored)
        differing[case.name] = first_difference(found, plain)
    assert {name: words for name, words in differing.items() if words} == {}


@pytest.mark.parametrize("case", [c for c in CASES if c.rowwise], ids=lambda case: case.name.replace(" ", "-"))
def test_rowwise_case__batch_in_pieces__same_bits(case: Case) -> None:
    first, *rest = case.inputs()
    with exact(), torch.no_grad():
        whole = case.run(first, *rest)
        pieces = [case.run(piece, *rest) for piece in first.split([1, 2, *[first.shape[0] - 3] * (first.shape[0] > 3)])]
    assert torch.equal(whole, torch.cat(pieces))


# Other processes: instruction sets, threads, kernels or none

ATEN = ("default", "avx2", "avx512")
MKL = ("SSE4_2", "AVX2", "AVX512")
ONEDNN = ("SSE41", "AVX2", "AVX512_CORE", "DEFAULT")
CAPS = list(itertools.product(ATEN, MKL, ONEDNN))
CHOSEN = [
    ("default", "SSE4_2", "SSE41", "1", "on"),
    ("default", "AVX512", "AVX512_CORE", "2", "off"),
    ("avx2", "AVX2", "AVX2", "1", "off"),
    ("avx512", "AVX512", "DEFAULT", "2", "on"),
]
"""Every value of every column: the rest of the product is run by --full."""


def _found_in_another_process(aten: str, mkl: str, onednn: str, *arguments: str, **more: str) -> object:
    environment = {
        **os.environ,
        "ATEN_CPU_CAPABILITY": aten,
        "MKL_ENABLE_INSTRUCTIONS": mkl,
        "ONEDNN_MAX_CPU_ISA": onednn,
        **more,
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.exact.digests", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()  # batch splits are compared inside
    return json.loads(done.stdout)


def _assert_golden(found: dict[str, Any]) -> None:
    for kind, held in HELD.items():
        digests = found[kind]["digests"]
        assert [name for name, value in held["digests"].items() if digests.get(name) != value] == []
        assert found[kind] == held


@pytest.mark.parametrize(("aten", "mkl", "onednn", "threads", "fused"), CHOSEN)
def test_digests__in_another_process_and_instruction_set__golden(
    aten: str, mkl: str, onednn: str, threads: str, fused: str
) -> None:
    found = _found_in_another_process(aten, mkl, onednn, DIGEST_THREADS=threads, DIGEST_KERNELS=fused)
    assert isinstance(found, dict)
    _assert_golden(found)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("aten", "mkl", "onednn"), CAPS)
def test_digests__every_combination__golden(aten: str, mkl: str, onednn: str) -> None:
    """Threads and kernels are switched within one process, which saves starting three more."""
    found = _found_in_another_process(aten, mkl, onednn, "all")
    assert isinstance(found, list)
    assert len(found) == 4
    for row in found:
        _assert_golden(row)


@pytest.mark.parametrize("kind", HELD)
def test_golden__version__is_the_protocol_version(kind: str) -> None:
    assert HELD[kind]["version"] == VERSION


def test_golden__two_files__share_no_name() -> None:
    assert HELD["self-test"]["digests"].keys() & HELD["training"]["digests"].keys() == set()
