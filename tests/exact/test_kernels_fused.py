"""Fused multiply-adds: only where a kernel asks for them by name, and never to be seen in a result.

The kernels are compiled afresh here: code that comes from the disk has no assembly to read.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import Tensor

pytest.importorskip("numba", reason="kernels are compiled by numba")
import numba

from tests.exact.processors import needs_vnni
from validator.exact import digest, exact, products, residues
from validator.exact import kernels as room
from validator.exact.kernels import build, grids, moduli, slots, tiles
from validator.exact.kernels import residues as packing
from validator.exact.kernels.build import IEEE, Kernel
from validator.exact.products import BLOCK, operand_bits, settle
from validator.exact.random import Stream

_FUSED = re.compile(r"\bvfn?m(add|sub)|\bfn?m(add|sub|la|ls)\b")
ASKING = ("_pack_rows", "_pack_columns", "_multiply")
"""The kernels of products by residues; no other kernel asks for one."""
SHAPES = ((40, 200, 33), (9, 1024, 70), (33, 1100, 40))
x86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="names processors of x86-64")


def _has_fma() -> bool:
    return build.fuses(numba.core.registry.cpu_target.target_context)


@contextmanager
def _afresh(*found: Kernel) -> Iterator[None]:
    before = {k: k.__dict__.pop("compiled", None) for k in found}
    for k in found:
        k.__dict__["compiled"] = numba.njit(**IEEE)(k.__wrapped__)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for k, compiled in before.items():
            del k.__dict__["compiled"]
            if compiled is not None:
                k.__dict__["compiled"] = compiled


def _of(module: object) -> dict[str, Kernel]:
    return {name: k for name, k in vars(module).items() if isinstance(k, Kernel)}


def operands(m: int, k: int, n: int) -> tuple[Tensor, Tensor]:
    """Ordinary numbers, rows and columns of any magnitude, zeros, denormals, and integers at the ends of the grid."""
    stream = Stream(b"fused", f"{m}/{k}/{n}")
    a, b = stream.normal((m, k)), stream.normal((k, n))
    a *= 2.0 ** stream.integers(150, (m, 1)).sub(100)
    b *= 2.0 ** stream.integers(150, (1, n)).sub(100)
    a[:, ::7], b[3] = 0.0, b[3] * 1e-38
    a[m // 2], b[:, n // 2] = 1.9999999, -1.9999999
    return a, b


def results() -> list[Tensor]:
    """Products that pass through every kernel that asks, in each form of their operands and of their result."""
    found = []
    for m, k, n in SHAPES:
        a, b = operands(m, k, n)
        bits = operand_bits(k)
        for left, right in ((a, b), (a.t().contiguous().t(), b.t().contiguous().t())):
            parts = residues.prepare(left, -1, bits, "test"), residues.prepare(right, -2, bits, "test")
            found += [residues.multiply(*parts, False, BLOCK, dtype) for dtype in (torch.float32, torch.float64)]
    return found


def print_without(asked: Sequence[str]) -> None:
    """What the test below asks of a process of its own: the bits, and the kernels that hold a fused instruction.

    numba keeps what it has compiled to be inlined, so that one process cannot do both.
    """
    build._folder = lambda: None  # type: ignore[assignment]
    if not asked:
        build.fuses = moduli.fuses = lambda context: False  # type: ignore[assignment]
    print(digest.digest({str(i): r for i, r in enumerate(results())}).hex(), *_holding())


def _asking() -> dict[str, Kernel]:
    return _of(packing) | _of(tiles)


def _holding() -> list[str]:
    """The kernels that ask, of which a text of their machine code holds a fused multiply-add."""
    texts = {name: k.assembly() for name, k in _asking().items()}
    assert all(found and all("ret" in text for text in found) for found in texts.values())
    return [name for name, found in texts.items() if any(_FUSED.search(text) for text in found)]


@needs_vnni
def test_products__by_fused_instructions__bits_of_the_float64_engine() -> None:
    asking = _asking()
    assert set(asking) == set(ASKING)
    assert _holding() == (list(asking) if _has_fma() else [])
    found = results()
    expected = []
    for shape in SHAPES:
        with room.reference():
            exactly = products.product(*operands(*shape), "test")
        expected += [settle(exactly.clone(), torch.float32), exactly + 0.0] * 2
    for ours, theirs in zip(found, expected, strict=True):
        whole = torch.int32 if ours.dtype == torch.float32 else torch.int64
        assert torch.equal((ours + 0.0).view(whole), theirs.view(whole))


@needs_vnni
@pytest.mark.parametrize(
    ("asked", "processor"),
    [
        pytest.param(False, {}, id="never-asked-for"),
        pytest.param(
            True, {"NUMBA_CPU_NAME": "x86-64-v2", "NUMBA_CPU_FEATURES": ""}, marks=x86, id="not-in-the-processor"
        ),
    ],
)
def test_products__without_fused_instructions__same_bits_and_none_in_the_code(
    asked: bool, processor: dict[str, str]
) -> None:
    """Not asked for, the compiler puts none there by itself; and a processor without them is given other code."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); "
        "from tests.exact import test_kernels_fused as t; t.print_without(sys.argv[2:])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code, str(Path(__file__).parents[2]), *["asked"] * asked],
        env=os.environ | processor,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert found.stdout.split() == [digest.digest({str(i): r for i, r in enumerate(results())}).hex()]


def test_assembly__of_tiles__multiplies_bytes_by_the_instruction_where_the_processor_has_it() -> None:
    (text,) = tiles._multiply.assembly()
    assert ("vpdpbusd" in text) == build.has(numba.core.registry.cpu_target.target_context, "avx512vnni")


def _run_grids() -> None:
    x = Stream(b"fused", "grids").normal((6, 40, 12)).double()
    with exact():
        for dims in ((0,), (2,), (0, 1, 2)):
            x.sum(dims)
    for dim in (1, 2):
        grids.snap(x, (dim,), 21, "test")


def _run_slots() -> None:
    x, where = Stream(b"fused", "slots").normal((40, 12)), torch.arange(40) % 5
    with exact():
        torch.zeros(5, 12, dtype=torch.float64).index_add(0, where, x.double())


@pytest.mark.parametrize(("module", "run"), [(grids, _run_grids), (slots, _run_slots)], ids=["grids", "slots"])
def test_assembly__of_kernels_that_do_not_ask__holds_no_fused_multiply_add(
    module: object, run: Callable[[], None]
) -> None:
    with _afresh(*_of(module).values()):
        run()
        for name, k in _of(module).items():
            assert k.assembly(), name
            for text in k.assembly():
                assert "ret" in text
                assert not _FUSED.search(text), name
