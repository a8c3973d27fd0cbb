"""The stand-in server as fixtures."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.content.standin import StandIn, faults
from validator.content.http import Patience


@pytest.fixture
def standin() -> Iterator[StandIn]:
    server = StandIn()
    yield server
    server.close()


@pytest.fixture
def misbehave(standin: StandIn) -> Callable[[str], None]:
    """Tell the stand-in which fault to show from now on."""

    def choose(name: str) -> None:
        standin.fault = faults(standin)[name]

    return choose


@pytest.fixture
def one_try() -> Patience:
    """One try, and time enough for a busy machine."""
    return Patience(connect=5.0, read=5.0, block=10.0, tries=1)
