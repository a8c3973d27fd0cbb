"""Writes tests/golden/envelope/v1-*.json: run by hand when the format gets a new version, never to make a test pass.

The vectors come from the reference in this folder, which knows nothing of our code; tests/golden/envelope/README.md
says how to read them.
"""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

from tests.envelope import cases, reference
from validator.envelope import file_keys, seal_shared

GOLDEN = Path(__file__).parents[1] / "golden" / "envelope"
MOST_INSERTED = 2_000
"""Bytes of a case's own that a negative vector may hold: larger ones stay in the test suite."""


def main() -> None:
    write("v1-seal", [positive(name, size) for name, size in cases.SIZES.items()])
    write("v1-refuse", {"bases": {name: encoded(data) for name, data in cases.BASES.items()}, "cases": negatives()})
    secret, plain, info = cases.fixed("shared secret"), b"the same bytes from everyone", b"poc-probes/1"
    sealed = seal_shared(secret, plain, info)
    keys = file_keys(secret, sealed[:32], info)
    shared = {"secret": secret, "info": info, "plaintext": plain, "iv": keys.iv, "iv_key": keys.iv_key}
    write("v1-shared", shown({**shared, "file_key": keys.file_key, "sealed": sealed}))


def positive(name: str, size: int) -> dict[str, Any]:
    sealed, steps = cases.made(name, size)
    recipients = [
        {"secret": secret, "public": reference.public(secret), "kid": reference.kid(reference.public(secret)), **one}
        for secret, one in zip((cases.DAO, cases.AUDITOR), steps.pop("recipients"), strict=True)
    ]
    return {
        "name": name,
        "plaintext": {
            "size": size,
            "byte_n": "7 * n mod 251",
            "sha256": hashlib.sha256(cases.pattern(size)).hexdigest(),
        },
        "context": cases.CONTEXT,
        **shown(steps),
        "recipients": [shown(one) for one in recipients],
        "sealed": encoded(sealed),
        "sealed_sha256": hashlib.sha256(sealed).hexdigest(),
    }


def negatives() -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "parts": [part.hex() if isinstance(part, bytes) else list(part) for part in case.parts],
            "secret": case.secret.hex(),
            "expected": {**cases.CONTEXT, **dict(case.context)},
            "limit": case.limit,
            "code": case.code,
            "reason": case.reason,
        }
        for name, case in cases.CASES.items()
        if sum(len(part) for part in case.parts if isinstance(part, bytes)) <= MOST_INSERTED
    ]


def shown(steps: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value.hex() if isinstance(value, bytes) else [one.hex() for one in value] for name, value in steps.items()
    }


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def write(name: str, vector: object) -> None:
    (GOLDEN / f"{name}.json").write_text(json.dumps(vector, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
