"""Writes tests/golden/envelope/*.json: run by hand when the format gets a new version, never to make a test pass.

HPKE draws its ephemeral key itself, so a vector is what was once sealed, with the secret that must open it for ever.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from validator.envelope import Context, Grant, generate_keypair, seal, seal_backup, wrap_secret
from validator.envelope.format import read_head

GOLDEN = Path(__file__).parents[1] / "golden" / "envelope"
CONTEXT = Context(31_337, "0x" + "c0" * 20, 1, "0x" + "a1" * 20)


def main() -> None:
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for name, size in {"empty": 0, "short": 29, "two-chunks": 65_537}.items():
        keys, auditor = generate_keypair(), generate_keypair()
        plaintext = bytes(n * 7 % 251 for n in range(size))
        sealed = seal(plaintext, [keys.public, auditor.public], CONTEXT)
        _write(
            name,
            {
                "context": CONTEXT.fields(),
                "header": read_head(sealed).header.encode()[19:].decode(),
                "plaintext_sha256": hashlib.sha256(plaintext).hexdigest(),
                "plaintext_size": size,
                "sealed": sealed.hex(),
                "secrets": [keys.secret.hex(), auditor.secret.hex()],
            },
        )
    epoch, operator = generate_keypair(), generate_keypair()
    grant = Grant(31_337, CONTEXT.contract, 1, "0x" + "0b" * 20)
    _write(
        "grant",
        {
            "epoch_public": epoch.public.hex(),
            "epoch_secret": epoch.secret.hex(),
            "grant": {"chain_id": 31_337, "contract": grant.contract, "key_epoch": 1, "operator": grant.operator},
            "operator_secret": operator.secret.hex(),
            "wrapped": wrap_secret(epoch.secret, operator.public, grant).hex(),
        },
    )
    note = {"info": "round 7 attempt 0", "plaintext": "salt and answer", "secret": operator.secret.hex()}
    sealed = seal_backup(operator.secret, note["plaintext"].encode(), note["info"].encode())
    _write("backup", {**note, "sealed": sealed.hex()})


def _write(name: str, vector: object) -> None:
    (GOLDEN / f"{name}.json").write_text(json.dumps(vector, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
