"""What systemd is told (sd_notify(3)): that the node is ready, how it is, that it lives, that it stops.

A few datagrams to the socket that $NOTIFY_SOCKET names; without it, nothing. $WATCHDOG_USEC, if it is for this process,
says how often systemd wants to hear of it. A process that stands still as a whole, which its own watch for hung steps
cannot see (the interpreter's lock never given back, a stop by a signal), is then ended and started again.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import MutableMapping

import structlog

log = structlog.get_logger("daemon")


class Supervisor:
    """Tells what is said to it. The environment is read once, and its variables are taken out: they are not for the
    processes that this one starts.
    """

    def __init__(self, environment: MutableMapping[str, str] | None = None) -> None:
        given = os.environ if environment is None else environment
        self._address = _address(given.pop("NOTIFY_SOCKET", ""))
        microseconds, pid = given.pop("WATCHDOG_USEC", ""), given.pop("WATCHDOG_PID", "")
        asked = microseconds.isdecimal() and pid in ("", str(os.getpid()))
        self._every = int(microseconds) / 2e6 if asked else 0.0
        self._alive_at = 0.0
        self._status = ""

    def ready(self) -> None:
        """It has started."""
        self._tell("READY=1")

    def stopping(self) -> None:
        """It is about to end."""
        self._tell("STOPPING=1")

    def status(self, words: str) -> None:
        """One line for `systemctl status`."""
        if words != self._status:
            self._status = words
            self._tell("STATUS=" + " ".join(words.split()))

    def alive(self) -> None:
        """To be called again and again by the main thread; tells twice in the time that systemd waits."""
        if self._every and time.monotonic() >= self._alive_at:
            self._alive_at = time.monotonic() + self._every
            self._tell("WATCHDOG=1")

    def _tell(self, line: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.settimeout(1.0)
                sender.sendto(line.encode(), self._address)
        except OSError as error:
            log.warning("systemd was not reached", told=line, error=str(error))


def _address(given: str) -> str:
    """A path, or a name in the abstract namespace, written with @ for the zero byte; others are not for this."""
    return given if given.startswith("/") else "\0" + given[1:] if given.startswith("@") else ""
