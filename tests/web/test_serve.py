from __future__ import annotations

import signal
import socket
import threading
import time
import urllib.request

import pytest

from tests.web.conftest import Played
from validator.daemon import Daemon
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
        except ConnectionError:
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
