"""The benchmarks are scripts: their folder goes on the path, as it does when they run."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "scripts" / "benchmarks"))
