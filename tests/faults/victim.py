"""`validator run` in a process that kills itself with SIGKILL where it was told to.

The places are the program's own: every transaction of the journal, every entry of the signing history, every signature,
every broadcast and every file that the content store takes announces itself here, from outside: the program holds no
hook for tests. A step that is added to the journal tomorrow is a place to die tomorrow.

Import costs seconds, so the processes are forked from one that has imported everything: multiprocessing's fork server.
"""

from __future__ import annotations

import ctypes
import functools
import multiprocessing
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from web3.eth import Eth

import validator.actions.auditor
import validator.actions.connect
import validator.daemon  # noqa: F401 - what `validator run` loads
from validator.chain.signer import LocalSigner
from validator.cli import main
from validator.content import LocalStore
from validator.journal import Journal, SigningProtection

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
TRACE, STRUCK, LEDGER = "trace.txt", "struck.txt", "signatures.txt"


@dataclass(frozen=True, slots=True)
class Orders:
    """What a process is to do: run the home `home` with its records and log in `folder`, and die at the first place
    that is in `places` (where a line number may be left out), or at the `number`-th place that it comes by.
    """

    home: Path
    folder: Path
    places: frozenset[str] = frozenset()
    number: int = 0


def start(orders: Orders) -> multiprocessing.process.BaseProcess:
    """A new process of `validator run`; its exit code is -9 where it has killed itself."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pytest", "tests.faults.loaded"])
    process = context.Process(target=run, args=(orders,))
    process.start()
    return process


def run(orders: Orders) -> None:
    """The child: becomes `validator run --home HOME`."""
    die_with_parent()
    with (orders.folder / f"{orders.home.name}.log").open("ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    watch_all(Announcer(orders))
    sys.argv = ["validator", "run", "--home", str(orders.home)]
    main()


def die_with_parent() -> None:
    """However a campaign ends, it leaves no process behind (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Announcer:
    """Writes down every place, and dies where it should. What it writes is in the kernel's hands before it dies."""

    def __init__(self, orders: Orders) -> None:
        self._orders, self._count = orders, 0
        self._files = {
            name: os.open(orders.folder / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            for name in (TRACE, STRUCK, LEDGER)
        }

    def __call__(self, moment: str, *steps: str) -> None:
        """`steps`: what happens here, mostly one; of several, each is a place of its own."""
        self._count += 1
        for step in steps:
            place = f"{moment} {step}"
            self.write(TRACE, place)
            found = next((wanted for wanted in self._orders.places if wanted in (place, place.partition(":")[0])), None)
            if found or self._count == self._orders.number:
                self.write(STRUCK, found or place)
                os.kill(os.getpid(), signal.SIGKILL)

    def write(self, name: str, line: str) -> None:
        os.write(self._files[name], f"{line}\n".encode())


def watch_all(announce: Announcer) -> None:
    """Put the announcements around everything that lasts or leaves."""
    _watch(SigningProtection, "register", announce, lambda: f"protect {_site()}")
    _watch(SigningProtection, "_insert", announce, lambda: f"protect row {_site()}")
    _watch(LocalSigner, "sign_transaction", announce, lambda: f"sign transaction {_intent()}")
    _watch(Eth, "send_raw_transaction", announce, lambda: f"broadcast {_intent()}")
    _watch(LocalStore, "put", announce, lambda: f"put {_site()}")
    _watch(LocalStore, "pin", announce, lambda: f"pin {_site()}")
    _watch(Path, "replace", announce, lambda: f"file {_site()}", only=lambda: _caller("validator.content") is not None)
    _watch_journal(announce)
    _watch_attestations(announce)


def _watch(
    owner: type, method: str, announce: Announcer, name: Callable[[], str], only: Callable[[], bool] = lambda: True
) -> None:
    original = getattr(owner, method)

    @functools.wraps(original)
    def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not only():
            return original(self, *args, **kwargs)
        step = name()
        announce("before", step)
        result = original(self, *args, **kwargs)
        announce("after", step)
        return result

    setattr(owner, method, watched)


def _watch_journal(announce: Announcer) -> None:
    original = Journal.transaction

    @contextmanager
    def transaction(self: Journal) -> Iterator[Any]:
        steps = _transactions()
        with original(self) as database:
            yield database
            announce("within", *steps)
        announce("after", *steps)

    Journal.transaction = transaction  # type: ignore[method-assign]


def _watch_attestations(announce: Announcer) -> None:
    """Every signature over an attestation is written down, durably and before it is handed on, to be counted."""
    original = LocalSigner.sign_typed_data

    def sign(self: Any, data: Any) -> bytes:
        announce("before", "sign attestation")
        signature = original(self, data)
        message = data.message
        announce.write(LEDGER, f"{self.address} {message['round']} {message['attempt']} {data.digest.hex()}")
        announce("after", "sign attestation")
        return signature

    LocalSigner.sign_typed_data = sign  # type: ignore[method-assign]


def _frames() -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        yield frame
        frame = frame.f_back


def _caller(package: str) -> FrameType | None:
    return next((frame for frame in _frames() if frame.f_globals.get("__name__", "").startswith(package)), None)


def _site() -> str:
    """Which line of a stage is at work: two files that one stage stores are two places."""
    frame = _caller("validator.stages")
    return f"{frame.f_globals['__name__'].rpartition('.')[2]}:{frame.f_lineno}" if frame else "elsewhere"


def _intent() -> str:
    """The intent that a sender is at work on, without the numbers in it."""
    for frame in _frames():
        if frame.f_globals.get("__name__") == "validator.chain.sender":
            key = getattr(frame.f_locals.get("intent"), "key", None) or frame.f_locals.get("key")
            if isinstance(key, str):
                return _plain(key)
    return "?"


def _transactions() -> list[str]:
    """What the transaction that begins now will write: the journal's method, and what it was given."""
    frame = next(
        f
        for f in _frames()
        if f.f_globals["__name__"].startswith("validator.journal") and f.f_code.co_name != "transaction"
    )
    method, given = frame.f_code.co_name, frame.f_locals
    if method == "record":
        return [f"record {name}" for name in sorted({event.name for event in given["events"]})] or ["record nothing"]
    told = [_plain(str(given[name])) for name in ("key", "step", "state", "outcome") if given.get(name) is not None]
    return [" ".join([method, *told])]


def _plain(key: str) -> str:
    return re.sub(r"/.*", "", key)
