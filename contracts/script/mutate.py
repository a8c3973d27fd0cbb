#!/usr/bin/env python3
"""Mutation testing of the contracts: changes one thing in src/ at a time and asks whether a test notices.

`contracts/script/mutate.py [--workers N] [--only FILE] [--list]`, after `scripts/contracts build`. Each mutant is one
small wrong change of a function's body: a condition that always or never holds, an operator for its neighbour, a
constant one off, a statement left out, a guard taken away. It is killed if a test fails or the suite runs into its time
limit; it is invalid if it does not compile. Writes contracts/mutants.json and exits with 1 below 90 % killed.

Not in CI: it takes the better part of an hour. docs/contracts-assurance.md records the last run and its survivors.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import Queue

CONTRACTS = Path(__file__).resolve().parent.parent
REPORT = CONTRACTS / "mutants.json"
SECONDS = 240
"""Most time for one run of the suite, compilation included: an endless loop is noticed, too."""
UNIT = ("--no-match-contract", "Gas|Invariant")
INVARIANTS = ("--match-contract", "Invariant")

# One operator for its neighbour. forge fmt puts spaces around every binary operator.
SWAPS = {
    " == ": (" != ",),
    " != ": (" == ",),
    " < ": (" <= ",),
    " > ": (" >= ",),
    " <= ": (" < ",),
    " >= ": (" > ",),
    " + ": (" - ",),
    " - ": (" + ",),
    " * ": (" / ",),
    " / ": (" * ",),
    " % ": (" / ",),
    " && ": (" || ",),
    " || ": (" && ",),
    " & ": (" | ",),
    " | ": (" & ",),
    " ^ ": (" | ",),
    " >> ": (" << ",),
    " += ": (" -= ", " = "),
    " -= ": (" += ", " = "),
    " |= ": (" = ", " &= "),
    "++": ("--",),
    " nonReentrant": ("",),
    " onlyOwner": ("",),
    "Math.min(": ("Math.max(",),
}
DECLARATION = re.compile(r"\(?[\w.\[\]]+( storage| memory| calldata)? \w+( =|,|\))")


@dataclass(frozen=True)
class Mutant:
    """`new` in place of `old` at a position of a file."""

    file: str
    line: int
    position: int
    old: str
    new: str

    def __str__(self) -> str:
        show = [" ".join(text.split()) or "(nothing)" for text in (self.old, self.new)]
        return f"{self.file}:{self.line}: {show[0]}  ->  {show[1]}"


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant: killed, slow, survived or invalid; and by which test."""

    mutant: Mutant
    fate: str
    by: str


def bare(source: str) -> str:
    """The source with comments and strings blanked out, every position kept."""
    return re.sub(r"//[^\n]*|/\*.*?\*/|\"[^\"\n]*\"", lambda m: " " * len(m.group()), source, flags=re.DOTALL)


def bodies(code: str) -> Iterator[tuple[int, int]]:
    """Where each function's signature tail and body lie: from the closing parenthesis of its arguments to its end."""
    for start in re.finditer(r"\b(function \w+|constructor)\(", code):
        head = closing(code, start.end() - 1) + 1
        opening = re.compile(r"[{;]").search(code, head)
        if opening is not None and opening.group() == "{":
            yield head, closing(code, opening.start()) + 1


def closing(code: str, at: int) -> int:
    """The position of the bracket that closes the one at `at`."""
    pairs = {"(": ")", "{": "}", "[": "]"}
    depth = 0
    for position in range(at, len(code)):
        depth += (code[position] == code[at]) - (code[position] == pairs[code[at]])
        if depth == 0:
            return position
    raise ValueError("unbalanced brackets")


def changes(code: str, head: int, end: int) -> Iterator[tuple[int, int, str]]:
    """(from, to, replacement) for every change of one function."""
    body = code.index("{", head)
    for old, news in SWAPS.items():
        at = code.find(old, head, end)
        while at != -1:
            for new in news:
                yield at, at + len(old), new
            at = code.find(old, at + 1, end)
    for number in re.compile(r"(?<![\w.])\d[\d_]*(?![\w.])").finditer(code, body, end):
        yield number.start(), number.end(), str(int(number.group().replace("_", "")) + 1)
    for condition in re.compile(r"\bif \(").finditer(code, body, end):
        last = closing(code, condition.end() - 1)
        yield condition.end(), last, "true"
        yield condition.end(), last, "false"
    for guard in re.compile(r"\brequire\(").finditer(code, body, end):
        yield guard.end(), comma(code, guard.end()), "true"
    for choice in re.compile(r"(?<= )\? ([^;?]+?) : ").finditer(code, body, end):
        yield choice.start(), choice.end(), f"? {choice.group(1)} : true ? {choice.group(1)} : "
    yield from omissions(code, body, end)


def omissions(code: str, body: int, end: int) -> Iterator[tuple[int, int, str]]:
    """Every statement that is neither a declaration, a check nor a return, left out."""
    for statement in re.compile(r"(?<=[;{}\)])\s+([A-Za-z_(][^;{}]*);").finditer(code, body, end):
        text = statement.group(1)
        if re.match(r"(return|require|revert|if|for|while|else)\b", text) or DECLARATION.match(text):
            continue
        if text.count("(") == text.count(")"):
            yield statement.start(1), statement.end(), ";"


def comma(code: str, start: int) -> int:
    """The first comma from `start` on that is inside no bracket."""
    position = start
    while code[position] != ",":
        position = closing(code, position) + 1 if code[position] in "([{" else position + 1
    return position


def mutants(only: str | None) -> list[Mutant]:
    """All mutants of src/, in the order of the text. Interfaces have no bodies, and the development token no worth."""
    found: dict[tuple[str, int, str, str], Mutant] = {}
    for path in sorted((CONTRACTS / "src").rglob("*.sol")):
        name = str(path.relative_to(CONTRACTS / "src"))
        if name.startswith(("interfaces/", "dev/")) or (only and only not in name):
            continue
        source = path.read_text()
        code = bare(source)
        for head, end in bodies(code):
            for start, stop, new in changes(code, head, end):
                line = source.count("\n", 0, start) + 1
                mutant = Mutant(name, line, start, source[start:stop], new)
                found.setdefault((name, start, mutant.old, new), mutant)
    return sorted(found.values(), key=lambda m: (m.file, m.position, m.new))


class Bench:
    """A copy of the project in which mutants are tried, one after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for part in ("src", "test", "tools", "out", "cache"):
            if (CONTRACTS / part).is_dir():
                ignore = shutil.ignore_patterns("slither*", "coverage*", "snapshots")
                shutil.copytree(CONTRACTS / part, folder / part, ignore=ignore)
        shutil.copy(CONTRACTS / "foundry.toml", folder)
        (folder / "node_modules").symlink_to(CONTRACTS / "node_modules")
        self.forge = next(CONTRACTS.glob("node_modules/@foundry-rs/forge-*/bin/forge*"))

    def run(self, selection: tuple[str, ...]) -> tuple[int | None, str]:
        """The exit status of the suite, None if it ran out of time, and its output."""
        command = [str(self.forge), "test", "--fail-fast", *selection]
        environment = os.environ | {"FOUNDRY_PROFILE": "mutate"}
        process = subprocess.Popen(
            command, cwd=self.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        try:
            output, _ = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return None, ""
        return process.returncode, output

    def judge(self, mutant: Mutant) -> Verdict:
        """Tries one mutant: the unit tests first, the invariants if those are content."""
        path = self.folder / "src" / mutant.file
        original = path.read_text()
        end = mutant.position + len(mutant.old)
        assert original[mutant.position : end] == mutant.old, "the sources have changed"
        path.write_text(original[: mutant.position] + mutant.new + original[end:])
        try:
            for selection in (UNIT, INVARIANTS):
                status, output = self.run(selection)
                if status is None:
                    return Verdict(mutant, "slow", "time limit")
                if "Compiler run failed" in output:
                    return Verdict(mutant, "invalid", "")
                if status != 0:
                    by = re.search(r"\[FAIL[^\n]*\]\s*(\w+)", output)
                    return Verdict(mutant, "killed", by.group(1) if by else "set-up")
        finally:
            path.write_text(original)
        return Verdict(mutant, "survived", "")


def main() -> int:
    """Runs what was asked for, and returns the exit status."""
    parser = argparse.ArgumentParser(description="Mutation testing of the contracts.")
    parser.add_argument("--workers", type=int, default=1, help="mutants tried at a time")
    parser.add_argument("--only", help="files whose name contains this")
    parser.add_argument("--list", action="store_true", help="show the mutants and try none")
    options = parser.parse_args()
    todo = mutants(options.only)
    if options.list:
        print(*todo, f"{len(todo)} mutants", sep="\n")
        return 0
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        benches: Queue[Bench] = Queue()
        for number in range(options.workers):
            benches.put(Bench(Path(folder) / str(number)))
        bench = benches.get()
        for selection in (UNIT, INVARIANTS):
            status, output = bench.run(selection)
            if status != 0:
                print(output[-3000:], "mutate: the suite fails without a mutant", sep="\n", file=sys.stderr)
                return 1
        benches.put(bench)

        def judge(mutant: Mutant) -> Verdict:
            mine = benches.get()
            try:
                verdict = mine.judge(mutant)
            finally:
                benches.put(mine)
            print(f"{verdict.fate:9}{mutant}", flush=True)
            return verdict

        with ThreadPoolExecutor(options.workers) as pool:
            verdicts = list(pool.map(judge, todo))
    return report(verdicts, time.monotonic() - started)


def report(verdicts: list[Verdict], seconds: float) -> int:
    """Writes the report, prints its sum, and returns whether enough were killed."""
    fates = Counter(verdict.fate for verdict in verdicts)
    valid = len(verdicts) - fates["invalid"]
    killed = fates["killed"] + fates["slow"]
    REPORT.write_text(json.dumps([asdict(verdict) for verdict in verdicts], indent=1) + "\n")
    print(f"{killed} of {valid} mutants killed, {killed / max(valid, 1):.1%}; {fates['invalid']} did not compile; ", end="")
    print(f"{seconds / 60:.0f} minutes")
    return 0 if killed >= 0.9 * valid else 1


if __name__ == "__main__":
    sys.exit(main())
