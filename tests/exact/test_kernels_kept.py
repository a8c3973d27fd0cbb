"""Machine code that one process has made serves the next."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("numba", reason="kernels are compiled by numba")
COMPILE = """
from numba.core.ccallback import CFunc
from validator.exact.kernels import dense, native
compiled, inner = [], CFunc._compile_uncached
CFunc._compile_uncached = lambda self: compiled.append(self) or inner(self)
print(sum(bool(one.compiled) for one in vars(dense).values() if isinstance(one, native.Native)), len(compiled))
"""


def test_kernels__of_another_process__are_found_on_disk_and_not_compiled_again() -> None:
    _, second = (
        subprocess.run([sys.executable, "-c", COMPILE], capture_output=True, text=True, check=True, timeout=150).stdout
        for _ in range(2)
    )
    assert second == "4 0\n"
