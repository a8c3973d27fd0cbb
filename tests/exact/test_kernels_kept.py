"""Machine code that one process has made serves the next."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("numba", reason="kernels are compiled by numba")
from validator.exact.kernels import dense, native

COMPILE = """
from validator.exact.kernels import build, dense, native
for kernel in vars(dense).values():
    if isinstance(kernel, native.Native):
        kernel.compiled
print(*sorted(file.name for file in build._folder().rglob("native.*") if file.suffix == ".nbc"))
"""


def test_kernels__of_another_process__are_found_on_disk_and_not_compiled_again() -> None:
    first, second = (
        subprocess.run([sys.executable, "-c", COMPILE], capture_output=True, text=True, check=True, timeout=150).stdout
        for _ in range(2)
    )
    assert len(first.split()) == len([one for one in vars(dense).values() if isinstance(one, native.Native)]) > 0
    assert second == first
