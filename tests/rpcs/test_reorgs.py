"""Reorganisations of a real anvil, above and below what a node takes for final, at every stage of a round."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from tests.rpcs.rig import FINALITY, STAGES, Rig, close
from validator.chain.types import Phase
from validator.stages.node import Node

DEPTHS = range(1, 21)
DIAGONAL = [(2, Phase.CLOSED), (FINALITY + 2, Phase.COMMITTING), (20, Phase.FINALISED)]


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    made = Rig(tmp_path_factory.mktemp("reorgs"))
    yield made
    made.close()


@contextmanager
def running(rig: Rig) -> Iterator[Node]:
    node = rig.node()
    try:
        yield node
    finally:
        close(node)


def reorganised_round(rig: Rig, node: Node, depth: int, stage: Phase) -> None:
    rng = random.Random(depth * 10 + stage)
    rig.check(node, rig.play(node, {stage: lambda: rig.reorganise(depth, rng)}))


def test_round__reorganised__ends_once_and_in_the_state_of_a_fresh_node(rig: Rig) -> None:
    with running(rig) as node:
        for depth, stage in DIAGONAL:
            reorganised_round(rig, node, depth, stage)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_round__every_depth_at_every_stage__ends_once_and_in_the_state_of_a_fresh_node(rig: Rig) -> None:
    """Twenty rounds with a reorganisation at each of their stages, so that every pair of depth and stage comes once."""
    struck: set[tuple[int, Phase]] = set()
    with running(rig) as node:
        for shift in DEPTHS:
            rng, strikes = random.Random(shift), {}
            for place, stage in enumerate(STAGES):
                depth = 1 + (shift + 7 * place) % len(DEPTHS)
                strikes[stage] = partial(rig.reorganise, depth, rng)
                struck.add((depth, stage))
            number = rig.play(node, strikes)
            rig.check(node, number)
            print(f"round {number}: attempt {node.chronicle.rounds()[number].attempt}, {rig.reorganisations} reorgs")
    assert len(struck) == len(DEPTHS) * len(STAGES)
