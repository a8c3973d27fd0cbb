"""The embedded chain, empty or with a DAO on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chain.round_play import Play, set_up
from validator.chain.devchain import DevChain


@pytest.fixture
def chain() -> Iterator[DevChain]:
    """A chain that mines transactions at once and nothing on its own."""
    with DevChain(block_seconds=0) as running:
        yield running


@pytest.fixture(scope="module")
def prepared() -> Iterator[Play]:
    """A chain with a DAO, three validators and an open round, set up once a module."""
    with DevChain(block_seconds=0) as running:
        yield set_up(running)


@pytest.fixture
def play(prepared: Play) -> Iterator[Play]:
    """The prepared DAO with journals of its own; afterwards the chain is what it was."""
    blocks = prepared.chain.snapshot()
    yield prepared.copy()
    prepared.chain.methods.log_range = prepared.chain.methods.log_count = None
    prepared.chain.restore(blocks)
