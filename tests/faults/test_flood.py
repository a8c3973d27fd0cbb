"""A contributor who floods a round: what it costs the flooder and a validator, and that the honest are paid."""

from __future__ import annotations

import os
import resource
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.faults.anvil import Anvil
from tests.faults.crowd import OPTIONS, submit_all
from tests.faults.tiny import TinyWorld
from validator.actions.contributor import contribute, latest_evidence
from validator.demo.dao import PARAMETERS
from validator.rounds.types import Status
from validator.stages.round import tick

FLOOD = int(os.environ.get("FLOOD", "2000"))
LONG = {"report_seconds": 86_400, "commit_seconds": 86_400, "attest_seconds": 86_400, "exit_seconds": 30 * 86_400}
PATIENCE = 1_200.0
RECORDS = 6
"""Of an honest payload."""
WORTH = {"garbage": Status.UNDECRYPTABLE, "copies": Status.DUPLICATE, "noise": Status.BELOW_NOISE}


@pytest.mark.slow
@pytest.mark.timeout(PATIENCE + 900)
@pytest.mark.parametrize("kind", list(WORTH))
def test_contributor__floods_a_round__pays_for_it_and_the_honest_are_scored(tmp_path: Path, kind: str) -> None:
    """`garbage`: envelopes that do not open, whose deposits are lost. `copies`: one sound payload sealed anew each
    time. `noise`: mislabelled records, each payload another one, the dearest thing to judge for nothing.
    """
    chain = Anvil(tmp_path, *OPTIONS, accounts=10)
    try:
        world = TinyWorld(tmp_path, validators=1, capacity=FLOOD + 2, chain=chain, **LONG)
        one_payload = world.payload()
        payloads: dict[str, Callable[[], bytes]] = {
            "garbage": lambda: os.urandom(256),
            "copies": lambda: one_payload,
            "noise": lambda: world.payload("noise"),
        }
        attacker = chain.keys[9].address
        honest = [contribute(world.contributor(), world.payload())]
        spent = world.w3.eth.get_balance(attacker)
        submit_all(world, chain, FLOOD, payloads[kind], accounts=[attacker], sealed=kind != "garbage")
        spent -= world.w3.eth.get_balance(attacker)
        honest.append(contribute(world.contributor(), world.payload()))
        node = world.node(world.names[0])
        begun, deadline = processor(), time.monotonic() + PATIENCE
        with closing(node):
            while not (1 in node.chronicle.rounds() and node.chronicle.rounds()[1].final):
                assert time.monotonic() < deadline
                tick(node)
                time.sleep(0.2)
        took = processor() - begun
        evidence = latest_evidence(world.facts(), world.wallet.store)
        assert evidence is not None
        lines = {line.id: line for line in evidence.contributions}
        statuses = Counter(Status(line.status).name for line in lines.values())
        print(
            f"flood of {FLOOD:,} {kind}: {dict(statuses)}, {took:.0f} s of a processor, the flooder spent "
            f"{spent / 10**18:.3f} coins, {FLOOD * PARAMETERS.deposit / 10**18:.3f} of them deposits",
            flush=True,
        )
        floods = [line for line in lines.values() if line.contributor == attacker.lower()]
        assert len(floods) == FLOOD
        assert spent > FLOOD * PARAMETERS.deposit
        assert all(lines[one.id].records == RECORDS for one in honest)
        assert any(lines[one.id].paid for one in honest)
        judged = Counter(Status(line.status) for line in floods)
        if kind == "noise":
            assert set(judged) <= {Status.BELOW_NOISE, Status.PAID}
        else:
            assert judged[WORTH[kind]] >= FLOOD - 1
            assert sum(bool(line.paid) for line in floods) <= (kind == "copies")  # the first, for what it adds
    finally:
        chain.stop()


def processor() -> float:
    """Seconds of processors so far, of this process and those that it started and that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
