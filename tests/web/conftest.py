"""One small real round, played once for all tests of this room, and the explorer over it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from tests.support import CLEAN, NOISE, World
from validator.actions.connect import View
from validator.actions.contributor import Submitted, claim, contribute
from validator.payload import encode_safetensors
from validator.stages.node import Node
from validator.web.app import make_app
from validator.web.source import Source

KINDS = (CLEAN, CLEAN, CLEAN, NOISE, "malformed")


@dataclass(frozen=True)
class Played:
    """A DAO with one validator, whose round 1 is final and whose round 2 is open with one contribution in it."""

    world: World
    node: Node
    submitted: list[Submitted]
    contributors: list[str]
    claimed: tuple[str, int]

    @property
    def view(self) -> View:
        """The DAO as anyone sees it."""
        return self.world.wallet

    def close(self) -> None:
        """Stop it."""
        self.node.journal.close()
        if self.node.identity is not None:
            self.node.identity.protection.close()
        self.world.close()


DRAWS = 4
"""A round's seed is a block hash, which nobody can choose. One in six or so leaves too few contributions paid to tell
of; then another DAO is founded and played."""


@pytest.fixture(scope="session")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    for _ in range(DRAWS):
        made = play(tmp_path_factory.mktemp("world"))
        paid = [earned(made.world, address) > 0 for address in made.contributors[:3]]
        if paid[0] and sum(paid) > 1:
            break
        made.close()
    else:
        pytest.fail(f"the first and another clean contribution were not both paid in any of {DRAWS} draws")
    yield made
    made.close()


def play(folder: Path) -> Played:
    """Found a DAO and play it to where the tests want it."""
    world = World(folder, capacity=len(KINDS))
    node = world.node(world.names[0])
    wallets = [world.contributor() for _ in KINDS]
    submitted = [
        contribute(wallet, malformed(world) if kind == "malformed" else world.payload(kind))
        for wallet, kind in zip(wallets, KINDS, strict=True)
    ]
    world.play([node], lambda: world.is_final(1))
    claimant = next((wallet for wallet in wallets if earned(world, wallet.signer.address)), None)
    if claimant is None:
        return Played(world, node, submitted, [wallet.signer.address.lower() for wallet in wallets], ("", 0))
    amount, _ = claim(claimant, claimant.signer.address)
    contribute(claimant, world.payload())
    world.play([node], lambda: sum(fact.name == "ContributionSubmitted" for fact in world.facts()) == len(KINDS) + 1)
    addresses = [wallet.signer.address.lower() for wallet in wallets]
    return Played(world, node, submitted, addresses, (claimant.signer.address.lower(), amount))


@pytest.fixture(scope="session")
def source(played: Played) -> Source:
    return Source(played.view)


@pytest.fixture(scope="session")
def app(source: Source) -> FastAPI:
    return make_app(source)


@pytest.fixture(scope="session")
def client(app: FastAPI) -> TestClient:
    return TestClient(app, follow_redirects=False)


def malformed(world: World) -> bytes:
    """A payload with a pixel that is not a number."""
    inputs = np.zeros((10, 64), dtype=np.float32)
    inputs[0, 0] = np.nan
    return encode_safetensors(inputs, np.zeros(10, dtype=np.int64))


def earned(world: World, address: str) -> int:
    """Lifetime earnings by the last evidence."""
    from validator.actions.contributor import latest_evidence

    evidence = latest_evidence(world.facts(), world.wallet.store)
    return dict(evidence.earnings).get(address.lower(), 0) if evidence is not None else 0
