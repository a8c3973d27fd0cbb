"""The walkthrough: every command that a new user types, run as typed, with its words and its time.

Usage: scripts/walkthrough [--write]. Commands run in an empty folder, each in a process of its own, on 127.0.0.1.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "walkthrough.md"
PATIENCE = 600.0
"""Seconds that a step may take on a machine that is busy."""
VALIDATORS = ("one", "two", "three")
STAKE, REWARD, FUND = 10_000 * 10**18, 1_000 * 10**18, 1_000 * 10**18
PARAMETERS = """\
open_seconds = 3600
report_seconds = 300
commit_seconds = 600
attest_seconds = 600
exit_seconds = 4500
max_contributions = 2
"""
DATA = """\
import numpy, pathlib
from validator.demo.crowd import load_digits, split
from validator.demo.dao import write_folder
parts = split(load_digits(), 0)
write_folder(pathlib.Path("dao"), parts, 0, lambda done, total: None)
header = ",".join([f"pixel{n}" for n in range(64)] + ["digit"])
for name, start in (("mine", 0), ("yours", 40)):
    rows = numpy.column_stack([parts.pool.inputs, parts.pool.targets])[start : start + 40]
    numpy.savetxt(name + ".csv", rows, "%.17g", ",", header=header, comments="")
"""
HEAD = """\
# From nothing to a claim

What a new user types, and what came of it: a chain, a DAO of a steward, three validators, two contributions, their
scores, a claim, an audit. Written by `./scripts/walkthrough --write` from a run on {date}, on
{machine}, release {release}. Long answers are cut where `[...]` stands.
Everything is on 127.0.0.1, and the chain's keys are public: for trying things out.

The whole of it took {total}, of which the machine worked on {longest} for {most}.

"""


@dataclass
class Step:
    """A heading, why, and what was typed with its answers and seconds."""

    title: str
    why: str
    told: list[tuple[str, str, float]] = field(default_factory=list)

    def seconds(self) -> float:
        """All of it."""
        return sum(seconds for _, _, seconds in self.told)


class Walk:
    """A folder, what runs in it, and what was written down."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.steps: list[Step] = []
        self.started: list[subprocess.Popen[bytes]] = []
        kept = {name: value for name, value in os.environ.items() if not name.startswith("VALIDATOR_")}
        self.environment = {**kept, "HOME": str(folder), "COLUMNS": "110", "OMP_NUM_THREADS": "1"}

    def step(self, title: str, why: str) -> None:
        """Begin a step."""
        self.steps.append(Step(title, why))
        print(f"== {title}", file=sys.stderr)

    def type(self, line: str, lines: int = 12) -> str:
        """One command to its end; raises SystemExit with what it said if it fails."""
        begun = time.monotonic()
        done = subprocess.run(
            shlex.split(line), cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=PATIENCE
        )
        if done.returncode:
            raise SystemExit(f"error: `{line}` failed: {done.stderr.strip() or done.stdout.strip()}")
        self._note(line, done.stdout, time.monotonic() - begun, lines)
        return done.stdout

    def write(self, name: str, text: str) -> None:
        """A file, as an editor would make it."""
        (self.folder / name).write_text(text)
        (self.folder / name).chmod(0o600)
        if not name.endswith(".key"):
            self.steps[-1].told.append((f"cat {name}", text.strip(), 0.0))

    def start(self, line: str, ready: str, log: str) -> None:
        """A command that goes on in a terminal of its own, until its output or a page says that it is ready."""
        begun = time.monotonic()
        output = (self.folder / log).open("wb")
        process = subprocess.Popen(
            shlex.split(line), cwd=self.folder, env=self.environment, stdout=output, stderr=subprocess.STDOUT
        )
        self.started.append(process)

        def is_ready() -> bool:
            if process.poll() is not None:
                raise SystemExit(f"error: `{line}` ended: {(self.folder / log).read_text()[-500:]}")
            return answers(ready) if ready.startswith("http") else ready in (self.folder / log).read_text()

        wait(line, is_ready)
        said = f"(goes on; {ready} answers)" if ready.startswith("http") else (self.folder / log).read_text()
        self._note(f"{line} &", said, time.monotonic() - begun, 3)

    def until(self, what: str, line: str, holds: Callable[[str], bool]) -> None:
        """Ask the same again until it says what it should; noted once, with the time that it took."""
        begun, said = time.monotonic(), [""]

        def ask() -> bool:
            done = subprocess.run(
                shlex.split(line),
                cwd=self.folder,
                env=self.environment,
                capture_output=True,
                text=True,
                timeout=PATIENCE,
            )
            said[0] = done.stdout
            return done.returncode == 0 and holds(done.stdout)

        wait(what, ask, 2.0)
        self._note(line, said[0], time.monotonic() - begun, 14)

    def stop(self) -> None:
        """End what was started, the last first."""
        for process in reversed(self.started):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _note(self, line: str, said: str, seconds: float, lines: int) -> None:
        shown = [row.rstrip() for row in said.replace(str(self.folder), "~").strip().splitlines()]
        cut = shown if len(shown) <= lines else [*shown[: lines - 2], "[...]", shown[-1]]
        self.steps[-1].told.append((line, "\n".join(row[:160] for row in cut), seconds))


def answers(url: str) -> bool:
    """Whether a page says that all is well."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def wait(what: str, holds: Callable[[], bool], pause: float = 0.3) -> None:
    """Until it holds; SystemExit when it does not in PATIENCE seconds."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() > deadline:
            raise SystemExit(f"error: `{what}` did not come about in {PATIENCE:.0f} s")
        time.sleep(pause)


def free_ports(count: int) -> list[int]:
    """Ports that nobody uses."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def play(walk: Walk) -> None:
    """All of it."""
    chain, *web = free_ports(4)
    rpc = f"http://127.0.0.1:{chain}"
    walk.step("A chain", "In a terminal of its own; it prints ten accounts that hold coin, with their keys.")
    walk.start(f"validator devchain --port {chain} --block-seconds 0.3", "its keys are public", "chain.log")
    wait("the accounts", lambda: (walk.folder / "chain.log").read_text().count("0x") >= 20)
    keys = [line.split()[1] for line in (walk.folder / "chain.log").read_text().splitlines()[1:11]]

    def home(name: str, number: int, contract: str = "", more: str = "") -> str:
        """One of the chain's accounts, in a home of its own."""
        walk.write(f"{name}.key", keys[number] + "\n")
        address = json.loads(walk.type(f"validator keys import {name}.key --home {name} --light --json"))["address"]
        walk.type(f"validator keys protection-create --home {name}")
        given = f" --contract {contract}" if contract else ""
        walk.type(f"validator init --home {name} --rpc {rpc}{given} --content local:{walk.folder}/store{more}", 6)
        return str(address)

    walk.step("Data", "Handwritten digits: the DAO's folder (model, anchor, queries) and two contributors' files.")
    walk.write("data.py", DATA)
    walk.type("python data.py")
    walk.write("parameters.toml", PARAMETERS)
    walk.step(
        "The DAO", "The steward founds it with development tokens, publishes what is scored and by what, and funds it."
    )
    steward = home("steward", 0)
    founded = json.loads(
        walk.type("validator dao init --dev-tokens --light --json --parameters parameters.toml --home steward", 3)
    )
    contract = founded["rounds"]
    walk.type(f"sed -i '/^#contract/c contract = \"{contract}\"' steward/validator.toml")
    walk.type("validator dao publish dao --light --home steward")
    walk.type(f"validator dao mint {steward} {FUND} --token reward --home steward")
    walk.type(f"validator dao fund {FUND} --home steward")
    walk.step("Three validators", "Each makes a home; the steward admits it and grants the key; it stakes, and runs.")
    for number, (name, port) in enumerate(zip(VALIDATORS, web, strict=True), start=1):
        address = home(name, number, contract, f" --set port={port} --set poll_seconds=0.5 --set stagger_seconds=2")
        walk.type(f"validator dao admit {address} --home steward")
        walk.type(f"validator dao mint {address} {STAKE} --token stake --home steward")
        walk.type(f"validator join {STAKE} --home {name}")
        walk.type(f"validator dao grant {address} --home steward")
    walk.type("validator check --home one", 30)
    for name, port in zip(VALIDATORS, web, strict=True):
        walk.start(f"validator run --home {name}", f"http://127.0.0.1:{port}/ready", f"{name}.log")
    walk.step(
        "Contributions", "Two people send forty digits each, encrypted; with the second the round is full and closes."
    )
    for number, (name, file) in enumerate((("mary", "mine.csv"), ("john", "yours.csv")), start=4):
        home(name, number, contract)
        walk.type(f"validator contribute {file} --label digit --home {name}")
    walk.step(
        "Scores", "The validators fetch, open, score, commit, attest; their answers are equal, so the round is final."
    )
    walk.until("the score", "validator score 1 --home mary", lambda said: "records scored" in said)
    walk.type("validator score 2 --home john")
    walk.step("A claim", "The contributor takes what it earned, by a Merkle proof.")
    claimed = next(name for name in ("mary", "john") if earned(walk, name))
    walk.type(f"validator claim --home {claimed}")
    walk.step(
        "An audit", "Anybody with a grant re-executes the round, and finds the same bits or the first difference."
    )
    auditor = home("auditor", 6, contract)
    public = json.loads(walk.type("validator keys show --home auditor --json"))["hpke_key"]
    walk.type(f"validator dao grant {auditor} --hpke-key {public} --home steward")
    walk.until("the audit", "validator audit 1 --home auditor", lambda said: said.rstrip().endswith("match"))


def earned(walk: Walk, name: str) -> bool:
    """Whether a contributor was paid anything."""
    done = subprocess.run(
        ["validator", "score", "--mine", "--json", "--home", name],
        cwd=walk.folder,
        env=walk.environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    return done.returncode == 0 and json.loads(done.stdout)["paid"] > 0


def document(walk: Walk, total: float, set_up: float) -> str:
    """The page."""
    slowest = max(walk.steps, key=Step.seconds)
    busy = f"load average {os.getloadavg()[2]:.0f}"
    machine = f"{os.cpu_count()} cores ({platform.machine()}, {busy}, Python {platform.python_version()})"
    release = subprocess.run(["validator", "version"], capture_output=True, text=True, check=True).stdout.splitlines()[
        0
    ]
    head = HEAD.format(
        date=f"{datetime.now(UTC):%Y-%m-%d}", machine=machine, release=release.split()[-1],
        total=f"{total:.0f} s", longest=f"\"{slowest.title}\"", most=f"{slowest.seconds():.0f} s",
    )  # fmt: skip
    parts = [head, "| step | commands | seconds |\n|---|---:|---:|\n"]
    parts.append(f"| `scripts/environment` (nothing to do if it was done) | 1 | {set_up:.0f} |\n")
    parts += [f"| {step.title} | {len(step.told)} | {step.seconds():.0f} |\n" for step in walk.steps]
    for number, step in enumerate(walk.steps, start=1):
        parts.append(f"\n## {number}. {step.title}\n\n{step.why}\n\n```text\n")
        for line, said, seconds in step.told:
            parts.append(
                f"$ {line.replace(str(walk.folder), '~')}        # {seconds:.1f} s\n" + (f"{said}\n" if said else "")
            )
        parts.append("```\n")
    return "".join(parts)


def main() -> int:
    """Play it, and tell or write what happened."""
    parser = argparse.ArgumentParser(description="From nothing to a claim and an audit, by commands alone.")
    parser.add_argument("--write", action="store_true", help="write docs/walkthrough.md instead of standard output")
    parser.add_argument("--set-up", type=float, default=0.0, help=argparse.SUPPRESS)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="walkthrough-") as folder:
        walk, begun = Walk(Path(folder)), time.monotonic()
        try:
            play(walk)
            page = document(walk, time.monotonic() - begun, given.set_up)
        except KeyboardInterrupt:
            raise SystemExit(130) from None
        finally:
            walk.stop()
    if given.write:
        TARGET.write_text(page)
    else:
        sys.stdout.write(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
