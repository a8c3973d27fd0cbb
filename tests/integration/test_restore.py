"""Lost disks: a validator that committed comes back from keys and chain alone, and from an old backup, and reveals.

One network of two validators; before each round ends, the first one's disk is lost. All commands are the program's own.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs
from typer.testing import CliRunner, Result

from tests.documented import said
from tests.support import CLEAN, NOISE, World
from validator.cli.app import app
from validator.errors import ValidatorError
from validator.rounds.lifecycle import Phase
from validator.stages.node import Node
from validator.stages.round import tick

pytestmark = pytest.mark.timeout(600)

FIRST, SECOND = "validator-1", "validator-2"
PATIENCE = 280.0
"""Seconds that a busy machine may take for a part of a round."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("disks"), validators=2, capacity=2)
    yield made
    made.close()


def invoke(*arguments: str) -> Result:
    """A command, which sets logs up for a standard error that is gone after it."""
    before = structlog.get_config()
    try:
        return CliRunner().invoke(app, list(arguments))
    finally:
        structlog.configure(**before)


def command(*arguments: str) -> dict[str, Any]:
    done = invoke(*arguments, "--json")
    assert done.exit_code == 0, (done.output, done.exception)
    answer = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(answer, dict)
    return answer


def refused(*arguments: str) -> str:
    done = invoke(*arguments)
    assert isinstance(done.exception, ValidatorError), done.output
    return str(done.exception)


def commit_alone(world: World, node: Node, other: Node, number: int) -> bytes:
    """Both report, the first commits, the second waits: the scores that the first is bound to."""
    world.play([node, other], lambda: len(reports(world, number)) == 2, PATIENCE)
    world.play([node], lambda: len(world.round(number).commits) == 1, PATIENCE)
    assert world.round(number).phase(0) is Phase.COMMITTING
    step = node.journal.step(number, 1, "scored")
    assert step is not None
    return bytes(step["scores_root"])


def reports(world: World, number: int) -> Any:
    return world.round(number).reports


def lose_disk(world: World, node: Node) -> Path:
    """Nothing is left of the home but what the guide says to save apart: the folder keys and the password."""
    node.close()
    home, safe = world.folder / FIRST, world.folder / "safe"
    shutil.rmtree(safe, ignore_errors=True)
    safe.mkdir()
    shutil.move(home / "keys", safe / "keys")
    shutil.move(home / "password", safe / "password")
    shutil.rmtree(home)
    home.mkdir(mode=0o700)
    shutil.copytree(safe / "keys", home / "keys")
    shutil.copy(safe / "password", home / "password")
    return home


def finish(world: World, other: Node, number: int, answer: bytes) -> Node:
    """The first comes back, both play to the end: it has revealed what it committed to, once."""
    with capture_logs() as logs:
        node = world.node(FIRST)
        world.play([node, other], lambda: world.is_final(number), PATIENCE)
    assert not [entry for entry in logs if entry["log_level"] == "error"]
    state, operator = world.round(number), world.keys[FIRST].address.lower()
    attested = [f for f in world.facts() if f.name == "Attested" and f.args["round"] == number]
    assert [fact.args["operator"] for fact in attested].count(operator) == 1
    assert state.attempt == 1
    assert state.attestations[operator][2]["scores_root"] == answer
    assert len({digest for digest, _, _ in state.attestations.values()}) == 1
    return node


def signatures(node: Node, number: int) -> list[str | None]:
    assert node.identity is not None
    entries = json.loads(node.identity.protection.export())["signatures"]
    return [entry["digest"] for entry in entries if entry["round"] == number]


def test_lost_disk__keys_and_chain_alone__then_an_old_backup__each_finishes_its_round_with_one_signature(world: World):
    first, second = world.node(FIRST), world.node(SECOND)
    place = {
        "https://first.example,https://second.example": world.chain.url,
        "0x5c7C6ef41e27a0c67e29172D9c20059e8374A01a": world.wallet.deployment.rounds,
        "kubo:http://127.0.0.1:5001": f"local:{world.folder / 'store'}",
    }
    store = world.folder / "backup"
    saves = {"/var/backups/validator-2026-11-28": store}

    # Round 1: there never was a backup.
    world.contribute(CLEAN, NOISE)
    answer = commit_alone(world, first, second, 1)
    home = lose_disk(world, first)
    init = said(
        "init --rpc https://first.example,https://second.example --contract 0x5c7C6ef41e27a0c67e29172D9c20059e8374A01a "
        "--content kubo:http://127.0.0.1:5001",
        place,
    )
    made = command(*init, "--home", str(home), "--set", "poll_seconds=0.2", "--set", "stagger_seconds=0")
    assert (made["new_keys"], made["address"]) == (False, world.keys[FIRST].address)
    assert "signing history" in [line["check"] for line in made["check"]["lines"] if line["state"] == "fail"]
    assert "protection-rebuild" in refused("run", "--home", str(home))
    command(*said("keys protection-rebuild --no-other-machine"), "--home", str(home))
    first = finish(world, second, 1, answer)
    assert len(signatures(first, 1)) == 1

    # Round 2: a backup was made while the node ran, long before it committed.
    world.contribute(CLEAN, NOISE)
    tick(first)
    saved = command(*said("backup /var/backups/validator-2026-11-28", saves), "--home", str(home))
    assert saved["files"] == ["journal.sqlite", "signing-history.json", "validator.toml"]
    answer = commit_alone(world, first, second, 2)
    home = lose_disk(world, first)
    assert "--no-other-machine" in refused("restore", str(store), "--home", str(home))
    restore = said("restore /var/backups/validator-2026-11-28 --no-other-machine", saves)
    told = command(*restore, "--home", str(home))
    assert told["history"]["proven"] == 1
    first = finish(world, second, 2, answer)
    assert [len(signatures(first, number)) for number in (1, 2)] == [1, 1]
    assert None not in signatures(first, 1) + signatures(first, 2)
    assert "exists already" in refused("restore", str(store), "--no-other-machine", "--home", str(home))
    first.close()
    second.close()


def test_old_backup__what_was_signed_since_is_not_known__stays_blocked_for_the_attempt(world: World):
    """Signed after the backup, and lost on the way to the chain: nobody can tell, so nothing is signed."""
    node, other = world.node(FIRST), world.node(SECOND)
    number, operator = world.wallet.contracts.rounds.current_round(), world.keys[FIRST].address.lower()
    world.contribute(CLEAN, NOISE)
    store = world.folder / "early"
    command("backup", str(store), "--home", str(world.folder / FIRST))
    world.play([node], lambda: len(reports(world, number)) == 1, PATIENCE)
    world.play([other], lambda: len(reports(world, number)) == 2, PATIENCE)  # the first must not commit
    home = lose_disk(world, node)
    told = command("restore", str(store), "--no-other-machine", "--home", str(home))
    assert told["history"]["blocked"] == 1
    restored = world.node(FIRST)
    world.play(
        [restored], lambda: "nothing is signed for round #" in restored.waits.get(f"round {number}", ""), PATIENCE
    )
    tick(restored)
    assert operator not in world.round(number).commits
    assert signatures(restored, number) == [None]
    restored.close()
    other.close()
