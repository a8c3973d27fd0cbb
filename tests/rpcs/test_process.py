"""`validator run` as a process of its own, in real time, over endpoints that misbehave between it and a real anvil."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.anvil import Anvil
from tests.faults.checks import check_transactions
from tests.rpcs.proxy import Proxy, wait
from tests.rpcs.rig import NAME, RpcWorld
from tests.support import CLEAN
from validator.chain.types import Phase

SOME = {
    "error": 0.03,
    "truncated": 0.03,
    "wrong_id": 0.03,
    "cut": 0.03,
    "nonce_behind": 0.2,
    "drop": 0.5,
    "narrow": 0.5,
}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[RpcWorld]:
    chain = Anvil(tmp_path)
    try:
        yield RpcWorld(tmp_path, validators=1, capacity=1, chain=chain)
    finally:
        chain.stop()


@pytest.mark.timeout(300)
def test_run__over_two_bad_endpoints__plays_a_round_stops_on_sigterm_and_shows_no_token(
    world: RpcWorld, tmp_path: Path
) -> None:
    number = world.wallet.contracts.rounds.current_round()
    world.contribute(CLEAN)
    with Proxy(world.chain.url, 1) as first, Proxy(world.chain.url, 2) as second:
        first.only(**SOME)
        second.behind = 3
        second.only(behind=1.0, drop=1.0)
        environment = {**os.environ, "VALIDATOR_RPC": f"{first.url},{second.url}", "VALIDATOR_BUMP_SECONDS": "1"}
        command = [sys.executable, "-m", "validator", "run", "--home", str(world.folder / NAME)]
        with (tmp_path / "run.log").open("w") as log:
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
            try:
                wait(lambda: _over(world, number) or process.poll() is not None, 200)
                # Calm water, so that what is under way can be settled.
                first.only()
                wait(lambda: process.poll() is not None or _settled(world), 30)
                process.send_signal(signal.SIGTERM)
                assert process.wait(15) == 0, (tmp_path / "run.log").read_text()[-2000:]
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait()
    said = (tmp_path / "run.log").read_text()
    assert first.counts.total() > 10
    assert "RPC endpoint set aside" in said
    assert "secret-token" not in said
    assert "Traceback" not in said
    assert world.round(number).final is not None
    check_transactions(world, NAME)


def _over(world: RpcWorld, number: int) -> bool:
    return world.wallet.contracts.rounds.phase(number) is Phase.FINALISED


def _settled(world: RpcWorld) -> bool:
    try:
        check_transactions(world, NAME)
    except AssertionError:
        return False
    return True
