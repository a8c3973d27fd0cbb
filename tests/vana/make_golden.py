"""Writes tests/golden/vana/web-client.json: files and keys by Vana's web client (openpgp and eccrypto from npm).

Run by hand: python -m tests.vana.make_golden. Each time other bytes, since both libraries draw their own randomness.
"""

from __future__ import annotations

import json
from pathlib import Path

from tests.vana.support import written
from validator.envelope.eccrypto import public_key

GOLDEN = Path(__file__).parents[1] / "golden" / "vana" / "web-client.json"
SECRET = bytes(range(1, 33))
PASSWORD = "0x" + bytes(range(65)).hex()
CASES = {
    "empty": (b"", {}),
    "short": (b"five bytes are not enough", {}),
    "zlib": (b"compressible " * 500, {"compress": True}),
    "partial": (bytes(range(256)) * 20, {"partial": True}),
    "partial-zlib": (bytes(range(256)) * 20, {"partial": True, "compress": True}),
    "stripped": (b"its key lost a leading zero", {"stripped": True}),
}


def main() -> None:
    found = []
    for name, (plain, how) in CASES.items():
        one = written(plain, PASSWORD, public_key(SECRET), **how)
        found.append({"name": name, "plain": plain.hex(), "file": one.file.hex(), "key": one.keys[0]})
    document = {"secret": SECRET.hex(), "password": PASSWORD, "cases": found}
    GOLDEN.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
