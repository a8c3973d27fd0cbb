"""The self-test: what it knows is true, what it asks holds here, and real faults are found and named."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from validator.exact import VERSION, ExactError, kernels
from validator.exact.conformance import cases, check, elementary, matrices, parity, vectors
from validator.exact.conformance.case import Case
from validator.exact.conformance.check import self_test
from validator.exact.conformance.golden import GOLDEN, QUICK, computations, read_golden, regenerated
from validator.exact.conformance.report import Report

ROOT = Path(__file__).resolve().parents[2]
OTHER_PYTHON = os.environ.get("EXACT_OTHER_PYTHON", "")
CPU = torch.device("cpu")
WIDTHS = {64: (52, 11), 32: (23, 8)}
"""Bits of the fraction and of the exponent."""

needs_kernels = pytest.mark.skipif(parity.unavailable(CPU) is not None, reason="numba is not installed")


# The vectors, by fractions


def value(bits: int, width: int) -> Fraction:
    """What a finite bit pattern stands for."""
    fraction, exponent = WIDTHS[width]
    sign = -1 if bits >> (width - 1) else 1
    power, low = bits >> fraction & ((1 << exponent) - 1), bits & ((1 << fraction) - 1)
    assert power < (1 << exponent) - 1
    least = 2 - (1 << (exponent - 1)) - fraction
    whole = low if power == 0 else low + (1 << fraction)
    return sign * whole * Fraction(2) ** (least + max(power, 1) - 1)


def nearest(x: Fraction, width: int) -> int:
    """The bit pattern of |x| rounded to nearest, ties to even, infinity beyond the range."""
    fraction, exponent = WIDTHS[width]
    x, least = abs(x), 2 - (1 << (exponent - 1)) - fraction
    if x == 0:
        return 0
    power = max(math.floor(math.log2(x.numerator) - math.log2(x.denominator)) - fraction - 1, least)
    while x >= Fraction(2) ** (power + fraction + 1):
        power += 1
    units = round(x / Fraction(2) ** power)  # Python rounds halves to even
    return min(units + ((power - least) << fraction), ((1 << exponent) - 1) << fraction)


def rounded(x: Fraction, width: int, negative_zero: bool = False) -> int:
    sign = x < 0 or (x == 0 and negative_zero)
    return nearest(x, width) | (int(sign) << (width - 1))


@pytest.mark.parametrize(("width", "rows"), [(64, vectors.OPERATIONS_64), (32, vectors.OPERATIONS_32)])
def test_vectors__operations__are_the_rounded_fractions(width: int, rows: vectors.Rows) -> None:
    for a, b, *answers in rows:
        x, y, apart = value(a, width), value(b, width), bool((a ^ b) >> (width - 1))
        assert answers == [rounded(x + y, width), rounded(x * y, width, apart), rounded(x / y, width, apart)]


@pytest.mark.parametrize(("width", "rows"), [(64, vectors.TWO_ROUNDINGS_64), (32, vectors.TWO_ROUNDINGS_32)])
def test_vectors__two_roundings__differ_from_one(width: int, rows: vectors.Rows) -> None:
    for a, b, c, answer in rows:
        x, y, z = (value(bits, width) for bits in (a, b, c))
        assert answer == rounded(value(rounded(x * y, width), width) + z, width)
        assert answer != rounded(x * y + z, width)


@pytest.mark.parametrize(("width", "rows"), [(64, vectors.SQUARE_ROOTS_64), (32, vectors.SQUARE_ROOTS_32)])
def test_vectors__square_roots__lie_within_half_a_unit(width: int, rows: vectors.Rows) -> None:
    for bits, root in rows:
        x, y = value(bits, width), value(root, width)
        below, above = value(max(root - 1, 0), width), value(root + 1, width)
        assert ((y + below) / 2) ** 2 <= x <= ((y + above) / 2) ** 2


def test_vectors__conversions__are_the_rounded_values() -> None:
    assert all(narrow == rounded(value(wide, 64), 32, bool(wide >> 63)) for wide, narrow in vectors.ROUNDED)
    assert all(bits == rounded(Fraction(whole), 64) for whole, bits in vectors.INTEGERS)


def test_vectors__division_by_reciprocal_and_second_rounding__would_be_seen() -> None:
    a, b, _, products, quotients = (np.array(c, dtype=np.uint64) for c in zip(*vectors.OPERATIONS_64, strict=True))
    x, y = a.view(np.float64), b.view(np.float64)
    with np.errstate(all="ignore"):
        assert (x * (1.0 / y) != quotients.view(np.float64)).sum() >= 3
        if np.finfo(np.longdouble).nmant == 63:
            twice = (x.astype(np.longdouble) * y.astype(np.longdouble)).astype(np.float64)
            assert (twice != products.view(np.float64)).sum() >= 1


# This machine


@pytest.fixture(scope="module")
def report() -> Report:
    return self_test()


def test_self_test__this_machine__is_certified(report: Report) -> None:
    assert report.ok, report.lines()
    assert report.verdict == f"certified: exact version {VERSION}, torch {torch.__version__}, device cpu"
    assert report.lines()[-1] == report.verdict
    assert {group.checks > 0 for group in report.groups if group.name != "fused kernels"} == {True}


@needs_kernels
def test_self_test__fused_kernels__every_one_of_them_runs(report: Report) -> None:
    from validator.exact.kernels.build import Kernel

    names = sorted(path.stem for path in Path(kernels.__file__).parent.glob("*.py") if path.stem != "__init__")
    found = {
        f"{name}.{key}": held
        for name in names
        for key, held in vars(kernels.module(name)).items()
        if isinstance(held, Kernel)
    }
    assert len(found) > 10
    assert [name for name, held in found.items() if "compiled" not in vars(held)] == []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_self_test__cuda__is_certified() -> None:
    found = self_test("cuda")
    assert found.ok, found.lines()


def test_self_test__no_such_device__says_so() -> None:
    with pytest.raises(ExactError, match="cannot use the device"):
        self_test("cuda:99")


def test_quick__names__are_computations() -> None:
    assert {each.name for each in computations()} >= QUICK


def test_golden__names__are_unique_and_all_held() -> None:
    names = [each.name for each in computations()]
    assert len(set(names)) == len(names)
    assert set(names) == read_golden().keys()


def test_golden__regenerated_here__is_the_file() -> None:
    assert regenerated() == GOLDEN.read_text()


def test_golden__of_another_version__is_refused(tmp_path: Path) -> None:
    path = tmp_path / "golden.json"
    path.write_text(json.dumps({"version": VERSION + 1, "digests": {}}))
    with pytest.raises(ExactError, match=f"version {VERSION + 1}"):
        read_golden(path)


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name.replace(" ", "-"))
def test_case__inputs_on_a_gpu__brings_no_tensor_of_the_cpu(case: Case) -> None:
    # No GPU is needed: fake tensors have a device and no values. A few operators ask for the driver; those are not
    # looked at.
    with FakeTensorMode(allow_non_fake_inputs=True):
        try:
            case.run(*(torch.empty(shape, device="cuda") for shape in case.shapes))
        except RuntimeError as error:
            assert "device propagation" not in str(error).lower()
            assert "same device" not in str(error)


# Faults


@pytest.fixture
def flushed() -> Iterator[None]:
    torch.ones(1 << 20).add_(1.0)  # torch's threads start now: started later they would inherit the setting for good
    assert torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def test_self_test__denormals_flushed__names_them_and_the_cure(flushed: None) -> None:
    found = self_test(quick=True)
    assert found.culprit is not None
    assert found.culprit.check == "denormal numbers"
    assert "0x" in found.culprit.found
    assert "set_flush_denormal(False)" in found.verdict


def test_self_test__digest_of_another_protocol__names_the_computation() -> None:
    found = self_test(quick=True, golden={**read_golden(), "softmax": "00" * 32})
    assert [fault.check for group in found.groups for fault in group.faults] == ["softmax"]
    assert found.verdict.startswith(f"FAILED: softmax: digest {read_golden()['softmax'][:16]}, expected 0000")


def test_self_test__digest_missing__is_a_fault() -> None:
    golden = {name: held for name, held in read_golden().items() if name != "total"}
    assert self_test(quick=True, golden=golden).verdict.startswith("FAILED: total: the golden file has no digest")


@needs_kernels
def test_self_test__wrong_kernel__is_named_with_the_first_wrong_element(monkeypatch: pytest.MonkeyPatch) -> None:
    module = kernels.module("rows")
    right = module.softmax

    def wrong(*args: object) -> torch.Tensor:
        result: torch.Tensor = right(*args)
        result.view(-1)[7:8].mul_(1.0 + 2.0**-20)
        return result

    monkeypatch.setattr(module, "softmax", wrong)
    found = self_test(quick=True)
    assert found.culprit is not None
    assert found.culprit.check == "softmax"
    assert "element 7: expected 0x" in found.culprit.found
    golden = next(fault for fault in found.groups[-1].faults if fault.check == "softmax")
    assert "element 7" in golden.found
    assert "the eager code on the CPU is right" in golden.found


def test_self_test__operator_refused__is_a_fault_and_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = replace(computations()[0], name="gelu", run=lambda device: torch.zeros(2, dtype=torch.complex64))
    monkeypatch.setattr(check, "computations", lambda: [refused])
    assert "gelu: stopped by ExactError" in self_test(quick=True).verdict


def test_self_test__torch_without_the_operator__says_what_it_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = Case("gelu", lambda x: x, ((3,),), needs=("nn.functional.no_such_function",)).missing()
    assert absent == "nn.functional.no_such_function"
    monkeypatch.setattr(check, "computations", lambda: [replace(computations()[0], name="gelu", missing=absent)])
    found = self_test(quick=True)
    assert found.ok
    assert found.groups[-1].checks == 0
    assert found.groups[-1].notes == ("gelu: not in this torch (torch.nn.functional.no_such_function)",)


def test_wrong_element__product_in_float32__is_found() -> None:
    a, b = matrices.integers("a", (40, 128), 23, 0), matrices.integers("b", (128, 30), 23, 1)
    exact = a @ b
    single = (torch.from_numpy(a).float() @ torch.from_numpy(b).float()).long().numpy()
    assert matrices.wrong_element(a, b, exact) is None
    assert "expected" in str(matrices.wrong_element(a, b, single))


@pytest.mark.parametrize("place", [(0, 0), (17, 29), (39, 0)])
def test_wrong_element__one_unit_off__is_found_where_it_is(place: tuple[int, int]) -> None:
    a, b = matrices.integers("a", (40, 1024), 21, 0), matrices.integers("b", (1024, 30), 21, 1)
    wrong = a @ b
    wrong[place] += 1
    expected = wrong[place] - 1
    assert matrices.wrong_element(a, b, wrong) == f"element {place}: expected {expected}, got {expected + 1}"


def test_difference__one_bit__is_told_with_both_patterns() -> None:
    x = torch.ones(5)
    x.view(torch.int32)[3] += 1
    told = elementary.difference("x", x, elementary.patterns(torch.ones(5)))
    assert told == "x, element 3: expected 0x3f800000, got 0x3f800001 (1 of 5 differ)"
    assert elementary.difference("x", torch.ones(5), elementary.patterns(torch.ones(5))) is None


# As a program


def _program(python: str, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python, "-m", "validator.exact.conformance", *arguments],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **changes},
        capture_output=True,
        text=True,
        check=False,
    )


def test_program__json__is_the_report() -> None:
    done = _program(sys.executable, "--quick", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert told["ok"] is True
    assert told["machine"]["torch"] == torch.__version__
    assert [group["name"] for group in told["groups"]][:2] == ["single operations", "matrix products"]


def test_program__no_such_device__one_line_and_exit_code() -> None:
    done = _program(sys.executable, "--device", "cuda:99")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
@needs_kernels
def test_program__kernels_for_the_plainest_processor__certified() -> None:
    """Those of products are asked for another processor in every run (test_kernels_fused.py)."""
    done = _program(sys.executable, "--json", NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES="")
    told = json.loads(done.stdout)
    assert told["ok"] is True, told["verdict"]
    assert next(group for group in told["groups"] if group["name"] == "fused kernels")["checks"] > 5


@pytest.mark.slow
@pytest.mark.skipif(not OTHER_PYTHON, reason="EXACT_OTHER_PYTHON names no interpreter with another torch")
def test_program__another_torch__certified() -> None:
    done = _program(OTHER_PYTHON, "--json")
    told = json.loads(done.stdout)
    assert told["machine"]["torch"] != torch.__version__
    assert told["ok"] is True, told["verdict"]
