"""The second verifier, `scripts/verify.py`, as a process that is started as the auditor guide starts it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.documented import said_to

SECOND = Path("scripts/verify.py")
SHOWN = f'{SECOND} --rpc http://127.0.0.1:8545 --contract "$SCORING_ROUNDS" --blocks ./store 1'


def ask(
    rpc: str, contract: str, source: str, number: int, seconds: int = 60, *more: str
) -> subprocess.CompletedProcess[str]:
    """What it says of round `number`, with blocks from `source` and `seconds` to do it in, and `more` options."""
    places: dict[str, object] = {"http://127.0.0.1:8545": rpc, "./store": source, "1": number}
    command = said_to("python", SHOWN, {**places, "$SCORING_ROUNDS": contract})
    asked = [sys.executable, *command, "--seconds", str(seconds), *more]
    return subprocess.run(asked, capture_output=True, text=True, timeout=120, check=False)


def assert_agrees(answer: subprocess.CompletedProcess[str], signatures: int = 3) -> None:
    """Every one of its checks holds."""
    assert (answer.returncode, answer.stderr) == (0, ""), answer.stdout
    assert all(line.startswith("ok") for line in answer.stdout.splitlines())
    assert len(answer.stdout.splitlines()) == 9
    assert f"{signatures} good signatures" in answer.stdout
