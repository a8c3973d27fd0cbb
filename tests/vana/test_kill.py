"""A prover killed with SIGKILL wherever something lasts or leaves: each file has one proof in the end, and one content.

The places are the program's own: every transaction of the journal, the signing history, the signature, the broadcast.
Each process works on one new file and dies at one of them; another one goes on from what is left.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from web3.eth import Eth

from tests.faults.victim import die_with_parent
from tests.vana.support import VanaWorld, payload
from validator.actions.vana.open import open_vana
from validator.actions.vana.run import run_once
from validator.chain.devchain import DevChain
from validator.chain.vana import JobStatus, VanaKey
from validator.journal import Journal, SigningProtection
from validator.settings import load_settings

SAMPLE = ("after sign_proof", "before send_raw_transaction")
"""The quick part; what is between journal and broadcast is tried in every run by tests/vana/test_stages.py."""
MOST_PLACES = 60


def victim(home: str, place: str, number: int, trace: str) -> None:
    """The child: does what is due, and dies at the `number`-th place or at the first that is called `place`."""
    die_with_parent()
    count = 0

    def come_by(name: str) -> None:
        nonlocal count
        count += 1
        with Path(trace).open("a") as file:
            file.write(f"{name}\n")
        if name == place or count == number:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(owner: type, method: str) -> None:
        original = getattr(owner, method)

        def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
            come_by(f"before {method}")
            result = original(self, *args, **kwargs)
            come_by(f"after {method}")
            return result

        setattr(owner, method, watched)

    for owner, method in (
        (Journal, "record"), (Journal, "take_step"), (SigningProtection, "register"), (VanaKey, "sign_proof"),
        (VanaKey, "sign_transaction"), (Eth, "send_raw_transaction"),
    ):  # fmt: skip
        around(owner, method)
    _around_intents(come_by)
    node = open_vana(load_settings(Path(home)), dry_run=False)
    run_once(node)
    node.close()


def _around_intents(come_by: Any) -> None:
    from validator.journal.intents import Intents

    for method in ("add", "settle"):
        original = getattr(Intents, method)

        def watched(self: Any, *args: Any, _original: Any = original, _name: str = method, **kwargs: Any) -> Any:
            come_by(f"before {_name}")
            result = _original(self, *args, **kwargs)
            come_by(f"after {_name}")
            return result

        setattr(Intents, method, watched)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VanaWorld]:
    with DevChain(block_seconds=0) as running:
        made = VanaWorld(tmp_path_factory.mktemp("world"), running)
        made.node().close()
        yield made


def play(world: VanaWorld, place: str = "", number: int = 0) -> int:
    """One process; its exit code."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pytest", "tests.faults.loaded"])
    trace = world.folder / "trace.txt"
    trace.unlink(missing_ok=True)
    process = context.Process(target=victim, args=(str(world.home), place, number, str(trace)))
    process.start()
    process.join(120)
    assert process.exitcode is not None
    return process.exitcode


def check(world: VanaWorld, file: int, job: int) -> None:
    registry = world.contracts.registry
    assert world.contracts.tee_pool.job(job).status is JobStatus.COMPLETED
    assert registry.proof(file, 1).signature != b""
    assert registry.proof(file, 2).signature == b""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_run__killed_around_signature_and_broadcast__proves_each_file_once(world: VanaWorld):
    files = []
    for place in SAMPLE:
        files.append(world.contribute(payload(len(files) + 1)))
        assert play(world, place) == -signal.SIGKILL, place
    assert play(world) == 0
    for file, job in files:
        check(world, file, job)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_run__killed_at_every_place_twice__proves_each_file_once(world: VanaWorld):
    died = set[str]()
    for number in range(1, MOST_PLACES):
        file, job = world.contribute(payload(100 + number))
        code = play(world, number=number)
        died |= {(world.folder / "trace.txt").read_text().splitlines()[-1]} if code else set()
        again = play(world, number=number) if code else 0
        while again and play(world) != 0:
            pass
        check(world, file, job)
        if not code:
            break
    assert code == 0, "there are more places than are tried"
    print(f"died at {number - 1} places: {sorted(died)}")
    assert {*SAMPLE, "after add", "after send_raw_transaction", "after settle"} <= died
