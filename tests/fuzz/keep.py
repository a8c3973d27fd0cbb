"""Keeps the smallest of what a campaign found interesting: `python -m tests.fuzz.keep FOLDER` writes CI's corpus."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path

from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parents[1] / "golden" / "fuzz.json"
MOST, MOST_BYTES = 60, 600


def main() -> None:
    kept = {}
    for name in TARGETS:
        found = {path.read_bytes() for path in Path(sys.argv[1], name).iterdir() if path.stat().st_size <= MOST_BYTES}
        small = sorted(found, key=lambda data: (len(data), data))
        kept[name] = [base64.b64encode(data).decode() for data in small[:: max(1, len(small) // MOST)]]
    CORPUS.write_text(json.dumps(kept, indent=0) + "\n")


if __name__ == "__main__":
    main()
