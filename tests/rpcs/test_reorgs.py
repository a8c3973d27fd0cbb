"""Reorganisations of a real anvil, above and below what a node takes for final, at every stage of a round."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tests.rpcs.rig import FINALITY, STAGES, Rig, close
from validator.chain.types import Phase

DEPTHS = range(1, 21)
DIAGONAL = [(2, Phase.CLOSED), (FINALITY + 2, Phase.REPORTING), (FINALITY, Phase.ATTESTING), (20, Phase.FINALISED)]


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    made = Rig(tmp_path_factory.mktemp("reorgs"))
    yield made
    made.close()


def reorganised_round(rig: Rig, depth: int, stage: Phase) -> None:
    node = rig.node()
    try:
        number = rig.play(node, {stage: lambda: rig.reorganise(depth, random.Random(depth * 10 + stage))})
        rig.check(node, number)
    finally:
        close(node)


@pytest.mark.parametrize(("depth", "stage"), DIAGONAL, ids=lambda value: str(getattr(value, "name", value)).lower())
def test_round__reorganised__ends_once_and_in_the_state_of_a_fresh_node(rig: Rig, depth: int, stage: Phase) -> None:
    reorganised_round(rig, depth, stage)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name.lower())
def test_round__reorganised_by_every_depth__ends_once_and_in_the_state_of_a_fresh_node(rig: Rig, stage: Phase) -> None:
    for depth in DEPTHS:
        reorganised_round(rig, depth, stage)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(12))
def test_round__reorganised_at_every_stage_of_one_round__ends_once(rig: Rig, seed: int) -> None:
    rng = random.Random(seed)
    node = rig.node()
    try:
        strikes = {stage: lambda: rig.reorganise(rng.randint(1, 20), rng) for stage in STAGES}
        rig.check(node, rig.play(node, strikes))
    finally:
        close(node)
