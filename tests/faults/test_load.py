"""Ten thousand contributions in one round, judged by seven validators, each a process with its own journal and scores.

They share one content store and one processor or two, so their wall time says little; what counts is that they finish,
agree, and hold little memory.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, ClassVar

import pytest
from eth_utils.address import to_checksum_address

from tests.faults.anvil import Anvil
from tests.faults.checks import check_signatures
from tests.faults.crowd import ACCOUNTS, OPTIONS, submit_all
from tests.faults.tiny import FIRST, TinyWorld
from tests.faults.victim import Orders, start
from validator.actions.contributor import claim, latest_evidence
from validator.rounds.types import Status

CONTRIBUTIONS = int(os.environ.get("LOAD_CONTRIBUTIONS", "10000"))
VALIDATORS = int(os.environ.get("LOAD_VALIDATORS", "7"))
MEMORY = 1536
"""MiB that a node may hold at its peak."""
PATIENCE = 3 * 3_600
LONG = {"report_seconds": 86_400, "commit_seconds": 86_400, "attest_seconds": 86_400, "exit_seconds": 30 * 86_400}


class CrowdedWorld(TinyWorld):
    """Whose estimator judges a record by two forward passes."""

    options: ClassVar[dict[str, str | int | float]] = {
        "poll_seconds": 2.0,
        "stagger_seconds": 30.0,
        "rpc_timeout": 120.0,
    }
    estimator: ClassVar[str] = FIRST


@pytest.mark.slow
@pytest.mark.timeout(PATIENCE + 600)
def test_round__ten_thousand_contributions__seven_validators_agree_in_little_memory(tmp_path: Path):
    chain = Anvil(tmp_path, *OPTIONS, accounts=ACCOUNTS)
    running: list[BaseProcess] = []
    try:
        world = CrowdedWorld(tmp_path, validators=VALIDATORS, capacity=CONTRIBUTIONS, chain=chain, **LONG)
        begun = time.monotonic()
        submit_all(world, chain, CONTRIBUTIONS, world.payload)
        told(f"{CONTRIBUTIONS} contributions submitted", begun)
        running = [start(Orders(world.folder / name, world.folder)) for name in world.names]
        watch(world, running, begun)
        told("final, and attested by all", begun)
        peaks = [peak_of(process) for process in running]
        for process in running:
            assert process.pid is not None
            os.kill(process.pid, signal.SIGTERM)
        for process in running:
            process.join(120)
            assert process.exitcode == 0
        print(f"peak resident memory of each node: {peaks} MiB", flush=True)
        assert max(peaks) < MEMORY
        check_round(world)
    finally:
        for process in running:
            if process.exitcode is None:
                process.kill()
        chain.stop()


def watch(world: TinyWorld, running: list[BaseProcess], begun: float) -> None:
    """Until round 1 is final and everyone has attested, telling how far it is."""
    said: tuple[Any, ...] = ()
    deadline = time.monotonic() + PATIENCE
    share = None
    while True:
        info = world.wallet.contracts.rounds.round_info(1)
        share = share or info.total_weight // VALIDATORS
        weights = (info.reported_weight, info.committed_weight, info.attested_weight)
        now = (info.phase.name, *(weight // max(1, share) for weight in weights))
        if now != said:
            told(f"{now}, memory {[peak_of(process) for process in running]} MiB", begun)
            said = now
        if info.phase.name == "FINALISED" and info.attested_weight == info.total_weight:
            return
        assert time.monotonic() < deadline
        for process in running:
            assert process.exitcode is None, f"ended by itself: {process.exitcode}"
        time.sleep(1)


def check_round(world: TinyWorld) -> None:
    """One answer, every contribution judged, some claims paid to the unit, nothing signed or sent twice."""
    state = world.round(1)
    assert {digest for digest, _, _ in state.attestations.values()} == {state.final_digest}
    evidence = latest_evidence(world.facts(), world.wallet.store)
    assert evidence is not None
    statuses = Counter(Status(line.status).name for line in evidence.contributions)
    print(dict(statuses), flush=True)
    assert len(evidence.contributions) == CONTRIBUTIONS
    assert all(line.included for line in evidence.contributions)
    assert set(statuses) <= {"PAID", "BELOW_NOISE"}
    token = world.wallet.token(world.wallet.deployment.reward_token)
    for lower, earned in evidence.earnings[:3]:
        account = str(to_checksum_address(lower))
        amount, _ = claim(world.wallet, account)
        assert amount == earned == token.balance_of(account)
    for name in world.names:
        check_signatures(world, name, world.folder, [1])


def peak_of(process: BaseProcess) -> int:
    """Peak resident memory of a process, MiB."""
    text = Path(f"/proc/{process.pid}/status").read_text()
    return next(int(line.split()[1]) // 1024 for line in text.splitlines() if line.startswith("VmHWM"))


def told(what: str, begun: float) -> None:
    print(f"{time.monotonic() - begun:7.0f} s  {what}", flush=True)
