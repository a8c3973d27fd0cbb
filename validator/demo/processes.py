"""Operating-system processes of the demonstration: started with their output in a file, ended by their own pid."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from validator.errors import ValidatorError

STOP_SECONDS = 15.0


class DemoError(ValidatorError):
    """A part of the demonstration did not do what it should."""


@dataclass(slots=True)
class Processes:
    """Everything that was started, so that all of it can be stopped. Output goes to `folder`/NAME.log."""

    folder: Path
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, *arguments: str, environment: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Run `validator ARGUMENTS` in the background."""
        with (self.folder / f"{name}.log").open("ab") as output:
            process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-m", "validator", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **(environment or {})},
            )
        self.running[name] = process
        return process

    def check(self) -> None:
        """Raise `DemoError` with the last line of its log if any of them has ended."""
        for name, process in self.running.items():
            if process.poll() is not None:
                lines = (self.folder / f"{name}.log").read_text(errors="replace").strip().splitlines() or ["no output"]
                raise DemoError(f"{name} ended with exit code {process.returncode}: {lines[-1]}")

    def stop(self) -> None:
        """SIGTERM to all, then SIGKILL to those that do not end in STOP_SECONDS."""
        for process in self.running.values():
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        for process in self.running.values():
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.running.clear()


def free_port() -> int:
    """A TCP port on loopback that is free now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_for_http(url: str, processes: Processes, seconds: float = 60.0) -> None:
    """Wait until something answers HTTP at `url`; any status will do."""
    deadline = time.monotonic() + seconds
    while True:
        processes.check()
        try:
            urllib.request.urlopen(url, timeout=2).close()  # noqa: S310 - loopback, our own
        except urllib.error.HTTPError:
            return
        except OSError as error:
            if time.monotonic() > deadline:
                raise DemoError(f"{url} did not answer within {seconds:g} s: {error}") from None
            time.sleep(0.1)
        else:
            return
