"""One validator on a chain, with all that it wrote set back at will, killed and restarted until its round ends."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from tests.faults.tiny import TinyWorld
from tests.faults.victim import STRUCK, TRACE, Orders, start
from validator.chain.types import Phase

NAME = "validator-1"
PATIENCE = 120.0
POLL = 0.1


class Stage:
    """`world` has one validator, NAME; `kept` is what `set_back` goes back to."""

    def __init__(self, world: TinyWorld) -> None:
        self.world = world
        self.home, self.records = world.folder / NAME, world.folder / "records"
        self.records.mkdir()
        self.kills = 0
        self._kept: tuple[Any, int] | None = None
        self._running: list[BaseProcess] = []

    # Time travel

    def keep(self) -> None:
        """Remember the chain, the home and the content store as they are. Nothing may be running."""
        aside = self.world.folder / "kept"
        shutil.rmtree(aside, ignore_errors=True)
        for name in (NAME, "store"):
            shutil.copytree(self.world.folder / name, aside / name)
        self._kept = (self.world.chain.snapshot(), self.number)

    def set_back(self) -> None:
        """Go back to what `keep` remembered, with empty records."""
        assert self._kept is not None
        self._kept = (self.world.chain.restore(self._kept[0]), self._kept[1])
        for name in (NAME, "store"):
            shutil.rmtree(self.world.folder / name)
            shutil.copytree(self.world.folder / "kept" / name, self.world.folder / name)
        for file in self.records.iterdir():
            file.unlink()

    # Life and death

    @property
    def number(self) -> int:
        """The open round."""
        return self.world.wallet.contracts.rounds.current_round()

    def play(self, number: int, places: Iterable[str] = (), again: int = 0) -> list[str]:
        """Round `number` to its end: final, the fee claimed, every transaction settled. Returns where it was killed.

        The process dies at each of `places` once, in whatever order it comes by them. After each of these deaths the
        next process dies too, at the `again`-th place that it comes by (0: it does not). Each is restarted at once.
        """
        left, twice = set(places), 0
        process = self._start(Orders(self.home, self.records, frozenset(left)))
        deadline = time.monotonic() + PATIENCE
        while not self._ended(number):
            self._hurry(number)
            self.world.chain.mine()  # finality comes as fast as the process can follow
            process.join(POLL)
            if process.exitcode is not None:
                assert process.exitcode == -signal.SIGKILL, (
                    f"ended by itself ({process.exitcode}): {self.log()[-1500:]}"
                )
                self.kills += 1
                first = self.struck()[-1] in left
                left -= set(self.struck())
                twice = again if first else 0
                process = self._start(Orders(self.home, self.records, frozenset(left), twice))
                deadline = time.monotonic() + PATIENCE
            assert time.monotonic() < deadline, f"round {number} did not end: {self.log()[-1500:]}"
        self._stop(process, number)
        return self.struck()

    def _start(self, orders: Orders) -> BaseProcess:
        self._running.append(start(orders))
        return self._running[-1]

    def _stop(self, process: BaseProcess, number: int) -> None:
        """SIGTERM; a process that is about to die of its own hand may do that instead."""
        process.terminate()
        process.join(15)
        assert process.exitcode in (0, -signal.SIGKILL), f"{process.exitcode}: {self.log()[-1500:]}"

    def close(self) -> None:
        """End whatever still runs."""
        for process in self._running:
            if process.exitcode is None:
                process.kill()
            process.join(10)

    def _hurry(self, number: int) -> None:
        """Once a round is final, its attest deadline passes at once, so that the fee can be claimed."""
        if not journal_of(self.home, "SELECT 1 FROM intents WHERE key LIKE ?", f"finalise/{number}/%"):
            return
        contracts, w3 = self.world.wallet.contracts, self.world.w3
        info = contracts.rounds.round_info(number)
        if info.phase is Phase.FINALISED and w3.eth.get_block("latest")["timestamp"] <= info.attest_deadline:
            self.world.chain.advance(info.attest_deadline + 1 - w3.eth.get_block("latest")["timestamp"])

    def _ended(self, number: int) -> bool:
        fee = journal_of(self.home, "SELECT 1 FROM steps WHERE round = ? AND step = 'fee'", number)
        return bool(fee) and not journal_of(self.home, "SELECT 1 FROM intents WHERE outcome IS NULL")

    # What was written down

    def struck(self) -> list[str]:
        """Where processes died, in order."""
        return self._lines(STRUCK)

    def places(self) -> list[str]:
        """Every place that was come by, once, in order."""
        return list(dict.fromkeys(self._lines(TRACE)))

    def log(self) -> str:
        """What the processes said."""
        file = self.records / f"{NAME}.log"
        return file.read_text(errors="replace") if file.exists() else ""

    def _lines(self, name: str) -> list[str]:
        file = self.records / name
        return file.read_text().splitlines() if file.exists() else []


def wait(condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Until `condition` holds; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come about in time"
        time.sleep(POLL)


def journal_of(home: Path, sql: str, *values: Any) -> list[Any]:
    """What a home's journal holds, whoever is writing to it; nothing before it has tables."""
    try:
        with closing(sqlite3.connect(f"file:{home / 'journal.sqlite'}?mode=ro", uri=True, timeout=5)) as file:
            return file.execute(sql, values).fetchall()
    except sqlite3.OperationalError as error:
        if "no such table" in str(error) or "unable to open" in str(error):
            return []
        raise
