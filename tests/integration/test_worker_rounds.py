"""`validator run` with workers, of Ray or on devices, in a real round beside one that computes by itself."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch

from tests.faults.tiny import TinyWorld
from tests.integration.test_engines import alive, descendants
from tests.support import CLEAN, NOISE
from validator.actions.auditor import audit_round

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1_500)]
WORKERS = 2
PATIENCE = 600.0


class Running:
    """A process of `validator run`, and what it says."""

    def __init__(self, world: TinyWorld, name: str, *options: str, devices: str = "cpu") -> None:
        self.log = world.folder / f"{name}.log"
        command = [sys.executable, "-m", "validator", "run", "--home", str(world.folder / name), *options]
        given = {"VALIDATOR_RAY_WORKERS": str(WORKERS), "VALIDATOR_DEVICES": devices, "NO_COLOR": "1"}
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=output, env={**os.environ, **given})

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def wait(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert self.process.poll() is None, self.said()[-3000:]
            assert time.monotonic() < deadline, self.said()[-3000:]
            time.sleep(0.2)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def test_run__engine_ray__judges_a_round_as_one_process_does_though_a_worker_is_killed(tmp_path: Path) -> None:
    """Two of two validators are a quorum only if both find the same bits. One of the Ray workers is killed before there
    is anything to judge; what it should have done, another does.
    """
    world = TinyWorld(tmp_path, validators=2, capacity=4)
    with ExitStack() as stack:
        stack.callback(world.close)
        by_ray, alone = Running(world, world.names[0], "--engine", "ray"), Running(world, world.names[1])
        for one in (by_ray, alone):
            stack.callback(one.kill)
        by_ray.wait(lambda: "self-test passed" in by_ray.said())
        workers = [int(pid) for pid in re.findall(r"worker  .* pid=(\d+)", by_ray.said())]
        assert len(set(workers)) == WORKERS
        assert set(workers) <= set(descendants(by_ray.process.pid))
        os.kill(workers[0], signal.SIGKILL)
        world.contribute(CLEAN, NOISE, CLEAN, NOISE)
        by_ray.wait(lambda: world.is_final(1) and len(world.round(1).attestations) == 2)
        family = descendants(by_ray.process.pid)
        for one in (by_ray, alone):
            one.process.send_signal(signal.SIGTERM)
        for one in (by_ray, alone):
            assert one.process.wait(60) == 0, one.said()[-3000:]
        deadline = time.monotonic() + 60
        while any(map(alive, family)):
            assert time.monotonic() < deadline, "what Ray started is still there"
            time.sleep(0.2)
        state = world.round(1)
        assert {digest for digest, _, _ in state.attestations.values()} == {state.final_digest}
        assert by_ray.said().count(" scored ") == alone.said().count(" scored ") == 1
        assert "worker lost" in by_ray.said()


@pytest.mark.parametrize(
    "devices",
    [
        "cpu,cpu",
        pytest.param("cuda:0", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")),
    ],
)
def test_run__on_devices__judges_as_one_processor_does_and_an_audit_on_the_processor_agrees(
    tmp_path: Path, devices: str
) -> None:
    world = TinyWorld(tmp_path, validators=2, capacity=4)
    with ExitStack() as stack:
        stack.callback(world.close)
        on_devices = Running(world, world.names[0], devices=devices)
        alone = Running(world, world.names[1])
        for one in (on_devices, alone):
            stack.callback(one.kill)
        on_devices.wait(lambda: "self-test passed" in on_devices.said())
        workers = set(re.findall(r"worker  .* device=(\S+) ", on_devices.said()))
        assert workers == set(devices.split(",")), on_devices.said()
        world.contribute(CLEAN, NOISE, CLEAN, NOISE)
        on_devices.wait(lambda: world.is_final(1) and len(world.round(1).attestations) == 2)
        for one in (on_devices, alone):
            one.process.send_signal(signal.SIGTERM)
        for one in (on_devices, alone):
            assert one.process.wait(60) == 0, one.said()[-3000:]
        state = world.round(1)
        assert {digest for digest, _, _ in state.attestations.values()} == {state.final_digest}
        assert on_devices.said().count(" scored ") == alone.said().count(" scored ") == 1
        verdict = audit_round(world.wallet, world.home(world.names[1]), 1, 4)
        assert verdict.match, verdict.to_dict()
