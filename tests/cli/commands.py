"""Runs the command `validator` as a process of its own and keeps what a shell would see of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

SECONDS = 90


@dataclass(frozen=True, slots=True)
class Outcome:
    """Exit code (negative: ended by that signal) and both streams of one run."""

    arguments: tuple[str, ...]
    code: int
    out: str
    err: str

    def refused(self, code: int = 1) -> str:
        """What a refusal says, after `error: `. Fails unless it is one line, alone, with this exit code."""
        told = f"\n$ validator {' '.join(self.arguments)}\nexit code {self.code}\n{self.out}\n{self.err}"
        assert self.code == code, told
        assert self.out == "", told
        assert self.err.startswith("error: "), told
        assert self.err.count("\n") == 1, told
        assert self.err.endswith("\n"), told
        assert "Traceback" not in self.err, told
        return self.err.removeprefix("error: ").rstrip("\n")

    def answered(self) -> str:
        """Standard output of a run that succeeded without a word on standard error."""
        told = f"\n$ validator {' '.join(self.arguments)}\nexit code {self.code}\n{self.out}\n{self.err}"
        assert self.code == 0, told
        assert self.err == "", told
        return self.out

    def json(self) -> dict[str, Any]:
        """The one JSON object that a successful run answered with."""
        lines = self.answered().splitlines()
        assert len(lines) == 1, lines
        answer = json.loads(lines[0])
        assert isinstance(answer, dict)
        return answer


Ask = Callable[..., Outcome]


def environment(folder: Path, changes: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment with no option of ours set, the default home under `folder`, and `changes`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("VALIDATOR_")}
    fixed = {"HOME": str(folder), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "COLUMNS": "100"}
    return {**kept, **fixed, **(changes or {})}


def command(*arguments: str) -> list[str]:
    """The command line of `validator`."""
    return [sys.executable, "-m", "validator", *arguments]


def validator(folder: Path, *arguments: str, env: Mapping[str, str] | None = None) -> Outcome:
    """Run `validator ARGUMENTS` in `folder`."""
    done = subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        cwd=folder,
        env=environment(folder, env),
        stdin=subprocess.DEVNULL,
    )
    return Outcome(arguments, done.returncode, done.stdout, done.stderr)


class Zygote:
    """Runs `validator` from a process that has loaded it already, so that a hundred runs take seconds, not minutes.

    Each run is a forked process with its own arguments, environment and streams; only the imports are shared.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._streams = (folder / "zygote.out", folder / "zygote.err")
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("zygote.py")), *map(str, self._streams)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
            env={**environment(folder), "PYTHONPATH": str(Path.cwd())},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate(timeout=SECONDS)

    def __call__(self, *arguments: str, env: Mapping[str, str] | None = None) -> Outcome:
        """Run `validator ARGUMENTS`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {"arguments": arguments, "environment": environment(self._folder, env), "seconds": SECONDS}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        code = self._process.stdout.readline()
        assert code, "the program cannot even be imported"
        out, err = (stream.read_text() for stream in self._streams)
        return Outcome(arguments, int(code), out, err)
