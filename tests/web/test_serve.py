from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from urllib.error import URLError

import pytest

from tests.web.conftest import Played
from validator.actions.home import write_config
from validator.content import Cid, LocalStore, root
from validator.daemon import Daemon
from validator.envelope import Context, seal
from validator.settings import load_settings
from validator.web.serve import ServeError, listen, serve_beside


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def get(url: str, seconds: float = 20.0) -> bytes:
    """What `url` answers, as soon as it does."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as response:
                return response.read()
        except (ConnectionError, URLError):
            assert time.monotonic() < deadline, f"{url} did not answer in time"


def test_listen__port_taken__refused_in_one_line() -> None:
    with listen("127.0.0.1", 0) as taken, pytest.raises(ServeError, match="Address already in use; choose another"):
        listen("127.0.0.1", taken.getsockname()[1])


def test_listen__nonsense_host__refused_in_one_line() -> None:
    with pytest.raises(ServeError, match=r"cannot listen on nowhere\.invalid port 1"):
        listen("nowhere.invalid", 1)


def test_serve_beside__a_daemon__answers_on_a_thread_and_leaves_signals_alone(played: Played) -> None:
    daemon = Daemon(played.node, 1.0)
    settings = played.world.home("validator-1").model_copy(update={"port": free_port()})
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)

    serve_beside(daemon, settings)

    url = f"http://127.0.0.1:{settings.port}"
    assert b"Rounds" in get(url)
    metrics = get(f"{url}/metrics").decode()
    assert f'poc_ticks_total{{dao="{played.node.deployment.rounds}"}} 0.0' in metrics
    assert "\npoc_rpc_healthy{" in metrics
    assert "\npoc_memory_used_bytes " in metrics
    assert "\nprocess_open_fds " in metrics
    assert b'"ok":true' in get(f"{url}/health")
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "web")


def test_serve_beside__relay_set__is_not_offered_and_said(played: Played, capsys: pytest.CaptureFixture[str]) -> None:
    home = played.world.home("validator-1").model_copy(update={"port": free_port(), "relay": True})

    serve_beside(Daemon(played.node, 1.0), home)

    assert b'"relay":null' in get(f"http://127.0.0.1:{home.port}/api/terms")
    assert "no relay beside a node" in "".join(capsys.readouterr())


def test_web__with_relay__a_process_takes_an_envelope_and_pins_it(played: Played, tmp_path: Path) -> None:
    place, port = played.view.deployment, free_port()
    write_config(
        load_settings(tmp_path),
        rpc=played.world.chain.url,
        contract=place.rounds,
        content=f"local:{tmp_path / 'store'}",
    )
    sealed = seal(
        b"x", [played.view.contracts.dao.key_of(1)], Context(place.chain_id, place.rounds, 1, "0x" + "c0" * 20)
    )
    command = [sys.executable, "-m", "validator", "web", "--home", str(tmp_path), "--port", str(port), "--relay"]
    url = f"http://127.0.0.1:{port}"
    # The manifest, which this store does not have, comes as it would from a gateway.
    LocalStore(tmp_path / "store").put(
        played.view.store.read(Cid.from_chain(played.world.round(1).manifest, 0), 65_536)
    )
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            get(f"{url}/api/terms", 60.0)
            kinds = {"Origin": url, "Content-Type": "application/octet-stream"}
            with urllib.request.urlopen(
                urllib.request.Request(f"{url}/api/envelopes", sealed, kinds), timeout=20
            ) as said:
                assert (said.status, json.loads(said.read())["cid"]) == (201, str(root(sealed)))
        finally:
            process.terminate()
    assert LocalStore(tmp_path / "store").is_pinned(root(sealed))
    assert [path.name for path in (tmp_path / "relay").iterdir()] == [str(root(sealed))]
