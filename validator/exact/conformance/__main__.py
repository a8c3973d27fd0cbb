"""`python -m validator.exact.conformance [--device cuda] [--json]`: certify this machine. Exit code 1 if it fails."""

from __future__ import annotations

import argparse
import json
import sys

from validator.exact.conformance.check import self_test
from validator.exact.conformance.golden import GOLDEN, regenerated
from validator.exact.errors import ExactError


def main() -> int:
    """Parse, test, tell."""
    parser = argparse.ArgumentParser(prog="python -m validator.exact.conformance", description=__doc__)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--json", action="store_true", help="answer with one JSON object")
    parser.add_argument("--quick", action="store_true", help="only what a node checks when it starts")
    parser.add_argument(
        "--regenerate", action="store_true", help="write golden.json anew: a change of protocol, raise exact.VERSION"
    )
    given = parser.parse_args()
    if given.regenerate:
        GOLDEN.write_text(regenerated())
        return 0
    try:
        report = self_test(given.device, quick=given.quick)
    except ExactError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    told = [json.dumps(report.to_dict(), sort_keys=True)] if given.json else report.lines()
    sys.stdout.write("\n".join(told) + "\n")
    return 0 if report.ok else 1


if __name__ == "__main__":
    sys.exit(main())
