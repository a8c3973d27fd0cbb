"""Coverage-guided fuzzing of one target by atheris, which is not among our dependencies: `pip install atheris==3.0.0`.

    nice python -m tests.fuzz.campaign TARGET CORPUS -runs=100000 -timeout=10 -rss_limit_mb=2048

CORPUS is a folder for what it finds interesting; begin with a copy of tests/golden/fuzz/TARGET. What follows are
libFuzzer's own options. It ends with a finding (a file crash-...) or after the runs.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["validator.envelope", "validator.payload", "validator.strict_json"]):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    name, *options = sys.argv[1:]
    atheris.Setup([sys.argv[0], *options], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
