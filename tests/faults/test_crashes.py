"""A validator killed with SIGKILL at every place where something lasts or leaves: the round ends all the same, with one
signature, and with every transaction once.

The campaign takes its places from the program: a round is played once, and every place that it came by is one to die
at, once; in every other part of it the restarted process dies as well, a few places on. A sample runs every time.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.anvil import Anvil
from tests.faults.checks import check_signatures, check_transactions
from tests.faults.stage import NAME, Stage, wait
from tests.faults.tiny import TinyWorld
from tests.faults.victim import Orders, start
from tests.support import CLEAN, NOISE
from validator.actions.auditor import audit_round
from validator.journal import SigningProtection
from validator.rounds.lifecycle import Phase

LONG = {"report_seconds": 7_200, "commit_seconds": 7_200, "attest_seconds": 7_200, "exit_seconds": 30 * 86_400}
"""On anvil every block is a second, and many blocks pass while a process starts on a busy machine."""
AT_ONCE = 20
"""Places to die at in one round."""
AUDITED = 4
"""Every so manieth of these rounds is scored again from scratch."""
SECOND_DEATHS = (0, 1, 0, 5)
"""After how many further places a restarted process dies again, by turns; 0: it does not."""
FEWEST = 200
BY_CHANCE = ("set_endpoint_range",)
"""What a process writes when an endpoint was slow, not because of the round."""

SAMPLE = [
    "within record RoundClosed",
    "after add draw",
    "before pin fetch",
    "within take_step reported",
    "after broadcast report",
    "after file score",
    "within take_step scored",
    "after protect row commit",
    "after take_step commitment",
    "before broadcast commit",
    "after sign attestation",
    "within add attest",
    "after broadcast finalise",
    "within settle finalise mined",
    "after take_step fee",
]
"""Places of the quick part; the campaign has all of them."""


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A validator on the embedded chain."""
    made = Stage(TinyWorld(tmp_path, validators=1, capacity=2))
    yield made
    made.close()
    made.world.close()


@pytest.fixture
def anvil_stage(tmp_path: Path) -> Iterator[Stage]:
    """A validator on anvil, with two contributions in the first round."""
    chain = Anvil(tmp_path)
    try:
        made = Stage(TinyWorld(tmp_path, validators=1, capacity=2, chain=chain, **LONG))
        made.world.contribute(CLEAN, NOISE)
        yield made
        made.close()
    finally:
        chain.stop()


def check(stage: Stage, number: int, *, audited: bool = True) -> None:
    """What must hold of a round that has ended, however."""
    check_signatures(stage.world, NAME, stage.records, [number])
    assert set(check_transactions(stage.world, NAME)) == {"mined"}
    if audited:
        verdict = audit_round(stage.world.wallet, stage.world.home(NAME), number, 4)
        assert verdict.match, verdict.to_dict()


@pytest.mark.timeout(900)
def test_run__killed_all_over_one_round__ends_it_with_one_signature_and_each_transaction_once(stage: Stage):
    number = stage.number
    stage.world.contribute(CLEAN, NOISE)
    struck = stage.play(number, SAMPLE)
    assert sorted(struck) == sorted(SAMPLE)
    check(stage, number)


@pytest.mark.slow
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("rounds_before", [0, 1])
def test_run__killed_at_every_place__ends_every_round(anvil_stage: Stage, rounds_before: int):
    stage = anvil_stage
    for _ in range(rounds_before):
        stage.play(stage.number)
        stage.world.contribute(CLEAN, NOISE)
    stage.keep()
    number, left = stage.number, reference(stage)
    every, size, died = len(left), AT_ONCE, 0
    assert every >= FEWEST // 2
    for size in (AT_ONCE, 1):  # alone, what an earlier death in its round has led around
        parts = -(-len(left) // size)
        missed: list[str] = []
        for part in range(parts):
            chosen = left[part::parts]
            stage.set_back()
            struck = stage.play(number, chosen, again=SECOND_DEATHS[part % len(SECOND_DEATHS)])
            check(stage, number, audited=part % AUDITED == 0)
            missed += [place for place in chosen if place not in struck]
            died += sum(place in struck for place in chosen)
            print(f"round {number}: {died} of {every} places, {stage.kills} deaths", flush=True)
        left = missed
    print(f"{rounds_before + 1}: {every} places, died at {died}, {stage.kills} deaths in all, missed {left}")
    assert left == []


def reference(stage: Stage) -> list[str]:
    """The places that an undisturbed round comes by."""
    stage.set_back()
    stage.play(stage.number)
    check(stage, stage.number - 1)
    return [place for place in stage.places() if not place.endswith(BY_CHANCE)]


@pytest.mark.timeout(400)
def test_run__sigterm_in_the_middle_of_a_round__exits_cleanly_within_seconds(stage: Stage):
    number = stage.number
    stage.world.contribute(CLEAN, NOISE)
    process = start(Orders(stage.home, stage.records))
    wait(lambda: stage.world.wallet.contracts.rounds.phase(number) >= Phase.REPORTING)
    begun = time.monotonic()
    assert process.pid is not None
    os.kill(process.pid, signal.SIGTERM)
    process.join(15)
    assert process.exitcode == 0
    assert time.monotonic() - begun < 10
    stage.play(number)
    check(stage, number)


@pytest.mark.timeout(400)
def test_run__second_process_with_the_same_home__refuses_in_one_line(stage: Stage):
    history = stage.home / "protection.sqlite"

    def held() -> bool:
        try:
            SigningProtection(history).close()
        except Exception as error:
            return "another validator" in str(error)
        return False

    first = start(Orders(stage.home, stage.records))
    wait(held)
    command = [sys.executable, "-m", "validator", "run", "--home", str(stage.home)]
    second = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert second.returncode == 1
    assert second.stderr.splitlines()[-1].startswith("error: ")
    assert "another validator" in second.stderr
    assert "Traceback" not in second.stderr
    first.terminate()
    first.join(15)
    assert first.exitcode == 0
