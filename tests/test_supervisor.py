"""What systemd hears, on a socket as it makes one."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from validator.supervisor import Supervisor


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        if request.param == "path":
            listening.bind(str(tmp_path_factory.mktemp("n") / "notify"))
        else:
            listening.bind(b"\0poc-validator-test-%d" % os.getpid())
        listening.settimeout(0.2)
        yield listening


def named(systemd: socket.socket) -> str:
    """As systemd writes the address into the environment."""
    name = systemd.getsockname()
    return name if isinstance(name, str) else "@" + name[1:].decode()


def heard(systemd: socket.socket) -> list[str]:
    found: list[str] = []
    try:
        while True:
            found.append(systemd.recv(4096).decode())
    except TimeoutError:
        return found


def test_supervisor__told__says_it_on_the_socket_and_a_status_once(systemd: socket.socket):
    supervisor = Supervisor({"NOTIFY_SOCKET": named(systemd)})
    supervisor.ready()
    supervisor.status("0xda0: failed\nonce")
    supervisor.status("0xda0: failed\nonce")
    supervisor.status("0xda0: ticks")
    supervisor.alive()  # it was not asked for
    supervisor.stopping()
    assert heard(systemd) == ["READY=1", "STATUS=0xda0: failed once", "STATUS=0xda0: ticks", "STOPPING=1"]


@pytest.mark.parametrize("pid", [{}, {"WATCHDOG_PID": str(os.getpid())}])
def test_supervisor__watchdog__hears_of_it_twice_in_its_time(systemd: socket.socket, pid: dict[str, str]):
    supervisor = Supervisor({"NOTIFY_SOCKET": named(systemd), "WATCHDOG_USEC": "200000", **pid})
    begun = time.monotonic()
    while time.monotonic() - begun < 0.55:
        supervisor.alive()
        time.sleep(0.01)
    assert 4 <= len(heard(systemd)) <= 6


@pytest.mark.parametrize("watchdog", [{"WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "soon"}])
def test_supervisor__watchdog_of_another_or_none__is_not_told(systemd: socket.socket, watchdog: dict[str, str]):
    supervisor = Supervisor({"NOTIFY_SOCKET": named(systemd), "WATCHDOG_USEC": "1", **watchdog})
    supervisor.alive()
    assert heard(systemd) == []


def test_supervisor__its_variables__are_not_handed_on(monkeypatch: pytest.MonkeyPatch):
    given = {"NOTIFY_SOCKET": "/run/no", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "2", "HOME": "/"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    Supervisor()
    assert [name for name in given if name in os.environ] == ["HOME"]


@pytest.mark.parametrize("address", ["", "vsock:2:1", "relative/path"])
def test_supervisor__none_or_another_kind_of_socket__nothing_is_sent_or_said(address: str):
    with capture_logs() as logs:
        Supervisor({"NOTIFY_SOCKET": address}).ready()
    assert logs == []


def test_supervisor__socket_that_is_gone__a_warning_and_no_more(tmp_path: Path):
    with capture_logs() as logs:
        Supervisor({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready()
    assert [(entry["log_level"], entry["told"]) for entry in logs] == [("warning", "READY=1")]
