"""What endpoints do wrong, between a node and a real anvil: a round ends once all the same."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.integration.test_anvil import rpc
from tests.rpcs.proxy import FAULTS, Proxy
from tests.rpcs.rig import STAGES, Rig, close
from validator.chain.fees import GWEI
from validator.chain.pool import MOST_LIAR_PAUSE_SECONDS, STALE_BLOCKS
from validator.chain.rpc import pool_of
from validator.chain.types import Phase
from validator.chain.verdict import Condition
from validator.stages.node import Node

FAILS = ("error", "busy", "hang", "cut", "truncated", "garbage", "oversize", "wrong_id", "logs_added", "logs_moved")
LIES = ("ahead", "other_chain", "other_hash")
EXPECTED = {
    **dict.fromkeys(FAILS, Condition.FAILING),
    **dict.fromkeys(LIES, Condition.LYING),
    "behind": Condition.LAGGING,
    # Their reads are right, so they stay in use; what they do wrong is made good elsewhere.
    **dict.fromkeys(("drop", "narrow", "nonce_ahead", "nonce_behind", "fees"), Condition.HEALTHY),
}
DIAGONAL = [("other_hash", Phase.CLOSED), ("behind", Phase.REPORTING), ("drop", Phase.COMMITTING)]
SEEDS = 15
# What a single endpoint may do now and then; `fees` and `other_chain` are for whole rounds, `hang` costs real seconds.
NOW_AND_THEN = sorted(FAULTS.keys() - {"hang", "oversize", "fees", "other_chain", "other_hash"})


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    made = Rig(tmp_path_factory.mktemp("rpcs"))
    yield made
    made.close()


@contextmanager
def over(rig: Rig, count: int, seed: int = 0, **options: object) -> Iterator[tuple[Node, list[Proxy]]]:
    """The validator over `count` proxies."""
    with ExitStack() as stack:
        proxies = [stack.enter_context(Proxy(rig.chain.url, seed + index)) for index in range(count)]
        node = rig.node([proxy.url for proxy in proxies], **options)
        stack.callback(close, node)
        yield node, proxies


def round_with_a_bad_first_endpoint(rig: Rig, node: Node, bad: Proxy, fault: str, stage: Phase) -> None:
    """Of several endpoints the first has `fault` from `stage` on, always."""
    before, seen = bad.counts[fault], watched(node)
    number = rig.play(node, {stage: lambda: bad.only(**{fault: 1.0})})
    pool_of(node.w3).survey()
    assert bad.counts[fault] > before or stage is Phase.FINALISED, "the fault never struck"
    assert EXPECTED[fault] in seen, seen
    bad.only()
    for _ in range(5):  # a machine under load may not answer in time either
        rig.time.now += 2 * MOST_LIAR_PAUSE_SECONDS
        if pool_of(node.w3).survey()[0].condition is Condition.HEALTHY:
            break
    else:
        raise AssertionError("it was not taken back")
    rig.check(node, number)


def watched(node: Node) -> set[Condition]:
    """What is thought of the first endpoint, at one time or another from now on."""
    pool, seen = pool_of(node.w3), {Condition.HEALTHY}
    found = type(pool)._found

    def noting(member: Any, verdict: Any, now: float) -> None:
        found(pool, member, verdict, now)
        if member is pool._members[0]:
            seen.add(verdict.condition)

    pool._found = noting  # type: ignore[method-assign]
    return seen


def test_round__first_of_three_endpoints_goes_bad__ends_on_the_others(rig: Rig) -> None:
    with over(rig, 3) as (node, (bad, *_)):
        bad.behind = 4 * STALE_BLOCKS
        for fault, stage in DIAGONAL:
            round_with_a_bad_first_endpoint(rig, node, bad, fault, stage)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_round__first_of_three_endpoints_is_bad_throughout__ends_on_the_others(rig: Rig, fault: str) -> None:
    with over(rig, 3, rpc_timeout=2.0 if fault == "hang" else 10.0) as (node, (bad, *_)):
        bad.behind = 4 * STALE_BLOCKS
        round_with_a_bad_first_endpoint(rig, node, bad, fault, Phase.OPEN)
        print(f"{fault}: struck {bad.counts[fault]} times, {rig.faults} ticks failed so far")


def round_over_one_bad_endpoint(rig: Rig, seed: int, often: float) -> None:
    """One endpoint, which does everything wrong now and then, and reorganisations besides."""
    rng = random.Random(seed)
    with over(rig, 1, seed, rpc_timeout=10.0) as (node, (only,)):
        only.behind = rng.randint(1, 6)
        only.only(**dict.fromkeys(NOW_AND_THEN, often))
        number = rig.play(node, {rng.choice(STAGES): lambda: rig.reorganise(rng.randint(1, 12), rng)})
        assert only.counts.total() > 0
        struck = dict(only.counts)
        only.only()
        rig.check(node, number)
        print(f"seed {seed}: {sum(struck.values())} faults {struck}, {rig.faults} ticks failed so far")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_round__the_only_endpoint_does_everything_wrong_now_and_then__ends_once(rig: Rig) -> None:
    for seed in range(SEEDS):
        round_over_one_bad_endpoint(rig, seed, often=0.01)


def test_round__gas_is_dearer_than_the_cap_for_a_while__waits_says_so_once_and_goes_on(rig: Rig) -> None:
    with over(rig, 1) as (node, _):

        def spike() -> None:
            rpc(rig.chain.w3, "anvil_setNextBlockBaseFeePerGas", hex(20_000 * GWEI))
            rig.chain.mine(1)

        with capture_logs() as said:
            number = rig.play(node, {Phase.COMMITTING: spike})
        rig.check(node, number)
    waits = [line for line in said if line["event"] == "waits" and "gas costs" in line["error"]]
    assert len(waits) == 1
    assert waits[0]["what"] not in node.waits
