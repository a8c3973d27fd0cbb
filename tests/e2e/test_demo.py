"""The two faces of the demonstration: one JSON object, and a terminal with an explorer left running until Ctrl-C."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from validator.demo.play import SHARES

COMMAND = [sys.executable, "-m", "validator", "demo"]
GARBAGE = ("mislabelled", "noise", "duplicate", "replayed", "malformed")
PATIENCE = 480  # two demonstrations run side by side on two cores
SMALL = """
import validator.demo.crowd
validator.demo.crowd.SCORED_KINDS = ("clean", "narrow", "mislabelled", "noise", "duplicate")
import validator.demo.run
validator.demo.run.ROUNDS = 1
from validator.cli import main
main()
"""
"""The same program with one round of one contributor of each kind; everything else is as it is."""


@pytest.mark.timeout(PATIENCE + 30)
def test_demo__json_of_a_small_crowd__is_one_object_and_the_audit_agrees():
    done = subprocess.run(
        [sys.executable, "-c", SMALL, "demo", "--json"], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    answer = json.loads(done.stdout)
    assert [(r["round"], r["status"], r["attestations"], r["equal"]) for r in answer["rounds"]] == [
        (1, "finalised", 3, True)
    ]
    assert answer["audit"] == {"level": 4, "match": True, "signatures": 3}
    assert set(answer["shares"]) == set(SHARES)
    assert sum(answer["shares"][kind] for kind in GARBAGE) <= 0.02
    played = answer["rounds"][0]
    assert {c["kind"] for c in played["contributions"]} == set(SHARES)
    assert all((c["status"] == "paid") == (c["score"] > 0) for c in played["contributions"])
    statuses = {c["status"] for c in played["contributions"]}
    assert statuses >= {"duplicate", "replayed", "malformed", "undecryptable", "oversized"}


@pytest.mark.slow
@pytest.mark.timeout(PATIENCE + 30)
@pytest.mark.parametrize("seed", range(10))
def test_demo__json__pays_honest_contributors_and_the_audit_agrees(seed: int):
    done = subprocess.run(
        [*COMMAND, "--json", "--seed", str(seed)], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    answer = json.loads(done.stdout)
    assert [(r["round"], r["status"], r["attestations"], r["equal"]) for r in answer["rounds"]] == [
        (1, "finalised", 3, True),
        (2, "finalised", 3, True),
    ]
    assert set(answer["shares"]) == set(SHARES)
    assert answer["shares"]["clean"] + answer["shares"]["narrow"] >= 0.95
    assert sum(answer["shares"][kind] for kind in GARBAGE) <= 0.02
    assert answer["audit"] == {"level": 4, "match": True, "signatures": 3}
    assert answer["rounds"][0]["paid"] > 0
    for played in answer["rounds"]:
        # What a second crowd of the same kind brings is little, by some seeds of the chain nothing beyond the noise.
        assert 0 <= played["paid"] <= played["pool"]
        assert all(played["gas"][name] > 21_000 for name in ("commit", "attest", "finalise", "submit"))
        assert (played["gas"]["claim"] > 21_000) == (played["paid"] > 0)
        assert {c["kind"] for c in played["contributions"]} == set(SHARES)
        assert all((c["status"] == "paid") == (c["score"] > 0) for c in played["contributions"])
    statuses = {c["status"] for played in answer["rounds"] for c in played["contributions"]}
    assert statuses >= {"paid", "below_noise", "duplicate", "replayed", "malformed", "undecryptable", "oversized"}


def interruptible() -> None:
    """A shell lets what it starts in the background ignore Ctrl-C, and so would we."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.timeout(PATIENCE + 90)
def test_demo__terminal__pays_honest_contributors_and_leaves_the_explorer_running_until_interrupted(tmp_path: Path):
    out = tmp_path / "out"
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "TMPDIR": str(tmp_path), "COLUMNS": "140"}
    with out.open("wb") as file:
        process = subprocess.Popen(
            [*COMMAND, "--seed", "1"], stdout=file, stderr=file, env=environment, preexec_fn=interruptible
        )
    try:
        deadline = time.monotonic() + PATIENCE
        while not (found := re.search(r"The explorer is at (http://127\.0\.0\.1:\d+)", out.read_text())):
            assert process.poll() is None, out.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.5)
        with urllib.request.urlopen(found.group(1), timeout=10) as page:
            assert page.status == 200
        process.send_signal(signal.SIGINT)
        assert (
            process.wait(60) == 0
        )  # 15 s for each process to stop by itself, then SIGKILL; a loaded machine takes more
    finally:
        if process.poll() is None:
            process.kill()
    text = out.read_text()
    for number in (1, 2):
        assert re.search(rf"Round {number}: final, 3 equal attestations, [\d,.]+ of [\d,.]+ tokens paid", text), text
    told = text.partition("Who got the money")[2]
    shares = {kind: float(share) for kind, share in re.findall(r"^  (\w+) +([\d.]+)%", told, re.MULTILINE)}
    assert set(shares) == set(SHARES)
    assert shares["clean"] + shares["narrow"] >= 95
    assert sum(shares[kind] for kind in GARBAGE) <= 2
    assert "re-executed from scratch: the same bits" in text
    assert not list(tmp_path.glob("poc-demo-*")), "the demonstration's folder was left behind"


@pytest.mark.parametrize("seed", ["-1", "x", "4294967296"])
def test_demo__seed_that_is_none__is_refused_in_one_line(seed: str):
    done = subprocess.run([*COMMAND, "--seed", seed], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
