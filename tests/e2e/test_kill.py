"""A validator killed with SIGKILL at every stage and restarted ends in the same attestation and signs no second."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import CLEAN, NOISE, World
from validator.actions.auditor import audit_round
from validator.journal import SigningProtection
from validator.rounds.lifecycle import Phase

NAME = "validator-1"
PATIENCE = 60.0

POINTS = [
    "after:events:",  # discover
    "after:prepared:close",  # advance
    "after:prepared:draw",
    "before:settled:",
    "before:content:fetched",  # fetch
    "before:step:reported",  # report
    "after:prepared:report",
    "after:sent:report",
    "before:stored:",  # score
    "before:step:scored",
    "after:step:scored",
    "before:protected:",  # commit
    "after:protected:",
    "after:step:commitment",
    "before:prepared:commit",
    "after:prepared:commit",
    "after:sent:commit",
    "before:signed:",  # attest
    "after:signed:",
    "after:prepared:attest",
    "after:sent:attest",
    "after:prepared:finalise",  # advance again
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("kill"), validators=1, capacity=2)
    yield made
    made.close()


class Process:
    """`validator run` as a process of its own."""

    def __init__(self, world: World, point: str) -> None:
        self.ledger = world.folder / "signatures.txt"
        self.log = (world.folder / "run.log").open("ab")
        program = Path(__file__).with_name("killable.py")
        command = [sys.executable, str(program), point, str(self.ledger), "run", "--home", str(world.folder / NAME)]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, cwd=Path.cwd())

    def wait_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert self.process.poll() is None, f"the validator ended by itself: {self.process.returncode}"
            assert time.monotonic() < deadline, "the condition did not come about in time"
            time.sleep(0.1)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(15)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.log.close()


@pytest.fixture
def start(world: World) -> Iterator[Callable[[str], Process]]:
    started: list[Process] = []

    def run(point: str) -> Process:
        started.append(Process(world, point))
        return started[-1]

    yield run
    for process in started:
        process.close()


@pytest.mark.timeout(180)
@pytest.mark.parametrize("point", POINTS)
def test_run__killed_at_any_step_and_restarted__attests_the_same_once(
    world: World, start: Callable[[str], Process], point: str
):
    number = world.wallet.contracts.rounds.current_round()
    world.contribute(CLEAN, NOISE)
    victim = start(point)
    assert victim.process.wait(PATIENCE) == -signal.SIGKILL
    survivor = start("never::")
    survivor.wait_until(lambda: world.is_final(number))
    assert survivor.stop() == 0
    attestations = [f for f in world.facts() if f.name == "Attested" and f.args["round"] == number]
    assert len(attestations) == 1
    signed = {line.split()[2] for line in survivor.ledger.read_text().splitlines() if line.split()[0] == str(number)}
    assert signed == {attestations[0].args["digest"].hex()}
    verdict = audit_round(world.wallet, world.home(NAME), number, 4)
    assert verdict.match, verdict.to_dict()


@pytest.mark.timeout(120)
def test_run__sigterm_at_any_time__exits_cleanly_within_seconds(world: World, start: Callable[[str], Process]):
    number = world.wallet.contracts.rounds.current_round()
    world.contribute(CLEAN, NOISE)
    process = start("never::")
    process.wait_until(lambda: world.round(number).phase(0) >= Phase.REPORTING)
    begun = time.monotonic()
    assert process.stop() == 0
    assert time.monotonic() - begun < 10
    again = start("never::")
    again.wait_until(lambda: world.is_final(number))
    assert again.stop() == 0


def test_run__second_process_with_the_same_home__refuses_in_one_line(world: World, start: Callable[[str], Process]):
    first = start("never::")
    history = world.folder / NAME / "protection.sqlite"

    def held() -> bool:
        try:
            SigningProtection(history).close()
        except Exception as error:
            return "another validator" in str(error)
        return False

    first.wait_until(held)
    command = [sys.executable, "-m", "validator", "run", "--home", str(world.folder / NAME)]
    second = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert second.returncode == 1
    assert second.stderr.splitlines()[-1].startswith("error: ")
    assert "another validator" in second.stderr
    assert "Traceback" not in second.stderr
    assert first.stop() == 0
