"""A real finalised round on anvil, for what audits it: played once a worker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.anvil import Anvil
from tests.support import CLEAN, NOISE, World
from validator.audit.case import Case, open_case

LONG = {"report_seconds": 3_600, "commit_seconds": 3_600, "attest_seconds": 3_600, "exit_seconds": 40_000}
"""anvil's clock outruns ours, five blocks a second, and a busy machine must not cost a phase."""


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("audit")
    made = World(folder, validators=3, capacity=3, chain=Anvil(folder), **LONG)
    made.contribute(CLEAN, NOISE, CLEAN)
    made.nodes = [made.node(name) for name in made.names]
    made.play(made.nodes, lambda: made.is_final(1) and len(made.round(1).attestations) == 3)
    yield made
    made.close()


@pytest.fixture(scope="session")
def case(world: World) -> Case:
    return open_case(world.w3, world.wallet.deployment, world.wallet.store, world.facts(), 1)
