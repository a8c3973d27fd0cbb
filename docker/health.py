"""Health check of the container: asks the node's own /live, if the node was given a port to answer on.

Not /health: whoever restarts what is unhealthy would then restart a node because its chain stands still.
"""

from __future__ import annotations

import os
import sys
import urllib.request

SECONDS = 8


def main() -> int:
    """0 when the node says that it is well, or was not asked to listen; 1 with the reason otherwise."""
    port = os.environ.get("VALIDATOR_PORT", "0")
    if port == "0":
        return 0
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/live", timeout=SECONDS) as answer:
            return 0 if answer.status == 200 else 1
    except OSError as error:  # a refused connection, and an answer that says "not well"
        sys.stderr.write(f"{error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
