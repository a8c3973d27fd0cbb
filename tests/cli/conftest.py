"""What the tests of the command line share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.commands import Zygote
from tests.support import CLEAN, NOISE, World


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the commands run; the default home lies in it, and there is none."""
    return tmp_path_factory.mktemp("cli")


@pytest.fixture(scope="session")
def run(folder: Path) -> Iterator[Zygote]:
    """`run(ARGUMENTS...)` runs `validator ARGUMENTS...` in a process of its own."""
    with Zygote(folder) as zygote:
        yield zygote


@pytest.fixture(scope="session")
def home(folder: Path, run: Zygote) -> Path:
    """A home with keys and nothing else. Tests leave it as it is."""
    made = folder / "home"
    run("keys", "create", "--light", "--home", str(made)).answered()
    return made


@pytest.fixture(scope="session")
def file(folder: Path) -> str:
    """A file that exists and holds nothing of use."""
    path = folder / "file"
    path.write_bytes(b"neither JSON nor safetensors")
    return str(path)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A DAO with one finalised round of two contributions, of which the first was paid, and with round 2 open."""
    made = World(tmp_path_factory.mktemp("world"), validators=1, capacity=2)
    try:
        made.contribute(CLEAN, NOISE)
        node = made.node(made.names[0])
        made.play([node], lambda: made.is_final(1))
        node.journal.close()
        assert node.identity is not None
        node.identity.protection.close()
        yield made
    finally:
        made.close()
