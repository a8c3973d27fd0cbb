"""Whether the torch of this environment is the build that was asked for: `device.py cpu` or `device.py cuda`.

The index decides which build a version is, and an image that says CUDA and has none would be noticed late.
"""

from __future__ import annotations

import sys

import torch


def main(wanted: str) -> int:
    """0 if it is; 1 with what came and what to do otherwise."""
    found = "cpu" if torch.version.cuda is None else "cuda"
    if wanted not in ("cpu", "cuda"):
        sys.stderr.write(f"error: DEVICE is cpu or cuda, not {wanted!r}\n")
        return 1
    if found != wanted:
        sys.stderr.write(
            f"error: DEVICE is {wanted}, and torch {torch.__version__} is a {found} build: name an index that has the "
            f"{wanted} build with --build-arg TORCH_INDEX=...\n"
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else ""))
