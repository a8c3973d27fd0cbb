"""The demonstration from beginning to end."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from validator.demo.crowd import Crowd, load_digits, split
from validator.demo.dao import write_folder
from validator.demo.network import VALIDATORS, Network, build
from validator.demo.play import CAPACITY, Played, finish, shares, submit_crowd
from validator.demo.processes import DemoError, free_port, wait_for_http
from validator.demo.report import print_gas, print_round, print_shares
from validator.rounds.lifecycle import RoundState

ROUNDS = 2
AUDIT_SECONDS = 300


def run(seed: int, as_json: bool) -> None:
    """Play two rounds, audit the last one from scratch, and report: one JSON object, or tables and a live explorer."""
    signal.signal(signal.SIGTERM, _interrupt)
    folder = Path(tempfile.mkdtemp(prefix="poc-demo-"))
    started = time.monotonic()
    console = Console(stderr=as_json)
    network: Network | None = None
    try:
        with _progress(console) as bar:
            network = _prepare(folder, seed, bar)
            played = _play(network, seed, bar)
            verdict = _audit(network, ROUNDS, bar)
        summary = _summary(played, verdict, time.monotonic() - started)
        if as_json:
            sys.stdout.write(json.dumps(summary) + "\n")
        else:
            _show(console, played, verdict, summary)
            _explore(console, network)
    except BaseException:
        if network is not None:
            network.processes.stop()
        console.print(f"the logs are in {folder}")
        raise
    network.processes.stop()
    shutil.rmtree(folder, ignore_errors=True)


def _interrupt(number: int, _: FrameType | None) -> None:
    """SIGTERM ends the demonstration as Ctrl-C does: no process stays behind."""
    raise KeyboardInterrupt(number)


class Bars:
    """Progress bars, and a line for what is going on."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def step(self, words: str) -> None:
        """Say what happens now."""
        self._progress.console.print(f"[dim]·[/] {words}")

    @contextmanager
    def counting(self, words: str, total: int) -> Iterator[Callable[[int, int], None]]:
        """A bar from 0 to `total`; the callback takes (done, total)."""
        task = self._progress.add_task(words, total=total)
        try:
            yield lambda done, all_: self._progress.update(task, completed=done, total=all_)
        finally:
            self._progress.remove_task(task)


@contextmanager
def _progress(console: Console) -> Iterator[Bars]:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        yield Bars(progress)


def _prepare(folder: Path, seed: int, bars: Bars) -> Network:
    parts = split(load_digits(), seed)
    bars.step(f"the DAO trains its model on {len(parts.anchor.targets)} digits; it is short of {parts.short}")
    with bars.counting("training", 1) as progress:
        write_folder(folder / "dao", parts, seed, progress)
    with bars.counting("founding", 0):
        return build(folder, folder / "dao", CAPACITY, bars.step)


def _play(network: Network, seed: int, bars: Bars) -> list[Played]:
    crowd = Crowd(split(load_digits(), seed), seed)
    played = []
    for number in range(1, ROUNDS + 1):
        bars.step(f"round {number}: {CAPACITY} contributors seal and submit")
        with bars.counting("submitting", CAPACITY) as done:
            entries = submit_crowd(network, crowd, done)
        with bars.counting(f"round {number}", 3 * VALIDATORS + 1) as done:
            played.append(finish(network, number, entries, _watcher(done)))
    return played


def _watcher(done: Callable[[int, int], None]) -> Callable[[RoundState], None]:
    def watch(state: RoundState) -> None:
        steps = len(state.reports) + len(state.commits) + len(state.attestations) + (state.final is not None)
        done(steps, 3 * VALIDATORS + 1)

    return watch


def _audit(network: Network, number: int, bars: Bars) -> dict[str, Any]:
    bars.step(f"an auditor re-executes round {number} from scratch")
    command = [sys.executable, "-m", "validator", "audit", str(number), "--level", "4", "--json"]
    with bars.counting("auditing", 0):
        done = subprocess.run(  # noqa: S603 - our own program
            [*command, "--home", str(network.folder / "auditor")],
            capture_output=True,
            text=True,
            timeout=AUDIT_SECONDS,
            check=False,
        )
    if done.returncode not in (0, 1) or not done.stdout:
        raise DemoError(f"the audit failed: {done.stderr.strip().splitlines()[-1:]}")
    verdict: dict[str, Any] = json.loads(done.stdout)
    return verdict


def _summary(played: list[Played], verdict: dict[str, Any], seconds: float) -> dict[str, Any]:
    return {
        "rounds": [item.summary() for item in played],
        "shares": shares(played),
        "audit": {key: verdict[key] for key in ("level", "match", "signatures")},
        "seconds": round(seconds, 1),
    }


def _show(console: Console, played: list[Played], verdict: dict[str, Any], summary: dict[str, Any]) -> None:
    for item in played:
        print_round(console, item)
    print_shares(console, summary["shares"])
    # Where nobody earned anything in the last round, nobody claimed.
    latest = {name: next((item.gas[name] for item in reversed(played) if item.gas[name]), 0) for name in played[-1].gas}
    print_gas(console, latest)
    words = "the same bits" if verdict["match"] else f"NO MATCH: {verdict['difference']}"
    console.print(f"\n[bold]Audit[/]  round {verdict['round']} re-executed from scratch: {words}")
    console.print(f"[dim]{summary['seconds']} s in all[/]")


def _explore(console: Console, network: Network) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    network.processes.start("explorer", "web", "--home", str(network.folder / "auditor"), "--port", str(port))
    wait_for_http(url, network.processes)
    home = network.folder / "auditor"
    console.print(f"\nThe explorer is at [bold]{url}[/]. In another terminal:")
    console.print(f"  validator score 1 --home {home}\n  validator audit 1 --home {home}")
    console.print("Ctrl-C ends the network and removes its folder.")
    try:
        while True:
            time.sleep(1)
            network.processes.check()
    except KeyboardInterrupt:
        console.print("stopping")
