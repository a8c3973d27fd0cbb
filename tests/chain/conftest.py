"""The embedded chain."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from validator.chain.devchain import DevChain


@pytest.fixture
def chain() -> Iterator[DevChain]:
    """A chain that mines transactions at once and nothing on its own."""
    with DevChain(block_seconds=0) as running:
        yield running
