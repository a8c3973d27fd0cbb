"""Peers in virtual environments of their own: `.bench/venv-NAME`, made from `peers/NAME.txt` once, and again when that
file changes.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE = HERE.parents[1] / ".bench"


class NotInstalled(Exception):
    """A peer that does not install, and why."""


def python_of(peer: str) -> str:
    """The interpreter of the peer's environment, which is made now if need be. Raises NotInstalled."""
    pinned = HERE / "peers" / f"{peer}.txt"
    venv, want = CACHE / f"venv-{peer}", hashlib.sha256(pinned.read_bytes()).hexdigest()
    stamp, python = venv / ".ready", venv / "bin" / "python"
    if stamp.exists() and stamp.read_text() == want:
        return str(python)
    print(f"setting up {venv.name} (once)", file=sys.stderr)
    torch = next(line for line in pinned.read_text().splitlines() if line.startswith("torch=="))
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for command in (
        [sys.executable, "-m", "venv", str(venv)],
        # torch with what it needs: which build is taken is the index's choice, and CUDA builds bring libraries.
        [*pip, torch],
        [*pip, "--no-deps", "--requirement", str(pinned)],
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise NotInstalled(last_line(done.stderr) or f"{command[0]} exited with {done.returncode}")
    stamp.write_text(want)
    return str(python)


def last_line(text: str) -> str:
    """The last line that says anything, without the class of an error: what a traceback or pip ends with."""
    found = next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
    return re.sub(r"^[\w.]*(Error|Exception): ", "", found)
