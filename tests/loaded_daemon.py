"""A daemon of three DAOs under load: one step spins for ever, one waits for ever, one reads a file again and again, and
four further threads compute. Usage: loaded_daemon.py STOP_SECONDS. Prints `started` when all of that is under way.
"""

from __future__ import annotations

import hashlib
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

from validator import daemon, ticker
from validator.stages.watch import Duty

busy = threading.Barrier(4)


def spin() -> None:
    busy.wait()
    while True:
        sum(range(1000))


def wait() -> None:
    busy.wait()
    threading.Event().wait()


def read() -> None:
    busy.wait()
    while True:
        Path(__file__).read_bytes()


def compute() -> None:
    while True:
        hashlib.sha256(bytes(1 << 16))


daemon.STOP_SECONDS = float(sys.argv[1])
daemon.tick = lambda node: node.work()  # type: ignore[assignment, attr-defined]
daemon.self_test = lambda quick, golden: SimpleNamespace(ok=True, verdict="")  # type: ignore[assignment]
ticker.look = lambda node, before: Duty()
nodes = [
    SimpleNamespace(deployment=SimpleNamespace(rounds=work.__name__), work=work, close=lambda: None)
    for work in (spin, wait, read)
]
for _ in range(4):
    threading.Thread(target=compute, daemon=True).start()


def started() -> None:
    def tell() -> None:
        busy.wait()
        print("started", flush=True)

    threading.Thread(target=tell).start()


sys.exit(daemon.Daemon([daemon.ticker_of(node, 0.05) for node in nodes], 0.05).run(on_start=started))  # type: ignore[arg-type]
