"""Machine code that one process has made serves the next."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

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


FOLDER = "from validator.exact.kernels.build import _folder; print(_folder())"


def test_kernels__sources_that_cannot_be_written__are_kept_in_numba_s_folder_unless_others_may_write_there(
    tmp_path: Path,
) -> None:
    source, package, kept = Path(__file__).parents[2] / "validator", tmp_path / "validator", tmp_path / "kept"
    shutil.copytree(source / "exact", package / "exact", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(source / "__init__.py", package)
    (package / "exact" / "kernels" / "__pycache__").write_text("a file in the folder's place stops even root")

    def folder() -> str:
        given = {**os.environ, "PYTHONPATH": str(tmp_path), "NUMBA_CACHE_DIR": str(kept)}
        command = [sys.executable, "-B", "-c", FOLDER]
        done = subprocess.run(command, cwd=tmp_path, env=given, capture_output=True, text=True, check=True, timeout=150)
        return done.stdout.strip()

    found = Path(folder())
    assert found.parent == kept
    for open_to_others in (found, kept):
        open_to_others.chmod(0o775)
        assert folder() == "None"
        open_to_others.chmod(0o755)
    assert folder() == str(found)


FLUSHED_FIRST = """
import torch
from validator.exact.kernels import native
torch.set_flush_denormal(True)
native._denormals()
torch.set_flush_denormal(False)
from validator.exact import exact
with exact():
    print(torch.ones(64, 64).sum(1)[0].item())
"""


def test_kernels__first_asked_while_denormals_are_flushed__work_once_they_no_longer_are() -> None:
    command = [sys.executable, "-c", FLUSHED_FIRST]
    assert subprocess.run(command, capture_output=True, text=True, check=True, timeout=150).stdout == "64.0\n"
