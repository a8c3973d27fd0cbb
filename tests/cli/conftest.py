"""What the tests of the command line share."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.cli.commands import Ask, Outcome, Zygote
from tests.support import CLEAN, NOISE, World
from validator.actions.steward import admit

AUDITOR, ADMITTED, POOR = "auditor", "admitted", "poor"


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


@pytest.fixture(scope="session")
def places(world: World, run: Zygote, folder: Path, file: str) -> Iterator[dict[str, str]]:
    """Names that command lines here use in braces."""
    world.add_home(AUDITOR)
    admit(world.wallet, world.add_home(ADMITTED).address)
    token = world.wallet.token(world.wallet.deployment.stake_token)
    world.wallet.sender.send(token.mint(world.keys[ADMITTED].address, 5), intent="mint-five")
    run("keys", "create", "--light", "--home", str(world.folder / POOR)).answered()
    shutil.copy(world.folder / AUDITOR / "validator.toml", world.folder / POOR)
    with socket.create_server(("127.0.0.1", 0)) as taken, NoRpc() as chatter:
        yield {
            **{name: str(world.folder / name) for name in (AUDITOR, ADMITTED, POOR, "steward", "validator-1", "dao")},
            "rpc": world.chain.url,
            "rounds": world.wallet.deployment.rounds,
            "store": f"local:{world.folder / 'store'}",
            "other": world.wallet.deployment.dao,
            "file": file,
            "taken": str(taken.getsockname()[1]),
            "chatter": chatter,
            "none": str(folder / "none"),
        }


class NoRpc:
    """A web server that is no JSON-RPC endpoint."""

    def __enter__(self) -> str:
        class Hello(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"<h1>hello</h1>")

            def log_message(self, format: str, *args: object) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Hello)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return f"http://127.0.0.1:{self._server.server_port}"

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def ask(run: Zygote, places: dict[str, str]) -> Ask:
    """`ask("score 1 --home {auditor}")`."""

    def call(words: str, *more: str, **env: str) -> Outcome:
        arguments = [word.format_map(places) for word in words.split()]
        return run(*arguments, *(word.format_map(places) for word in more), env=env)

    return call
