"""The tree of commands as the program itself has it, so that no command and no option can be forgotten by a test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from validator.cli.app import app

Path = tuple[str, ...]
ADDRESS = "0x5c7C6ef41e27a0c67e29172D9c20059e8374A01a"

POSITIONS: dict[Path, tuple[str, ...]] = {
    ("announce",): ("https://validator.example.org",),
    ("audit", "grant"): ("1", "--hpke-key", "11" * 32, "--out", "OUT"),
    ("audit", "round"): ("1",),
    ("audit", "verify-report"): ("FILE",),
    ("backup",): ("OUT",),
    ("charge-unrevealed",): ("1",),
    ("contribute",): ("FILE",),
    ("convert",): ("FILE", "--out", "OUT"),
    ("dao", "admit"): (ADDRESS,),
    ("dao", "check"): ("FOLDER",),
    ("dao", "collect"): ("1",),
    ("dao", "fund"): ("1",),
    ("dao", "grant"): (ADDRESS,),
    ("dao", "mint"): (ADDRESS, "1", "--token", "stake"),
    ("dao", "publish"): ("FOLDER",),
    ("dao", "set-parameters"): ("FILE",),
    ("join",): ("1",),
    ("keys", "import"): ("FILE",),
    ("keys", "protection-import"): ("FILE",),
    ("prove-equivocation",): ("FILE", "FILE"),
    ("restore",): ("FOLDER",),
    ("score",): ("1",),
    ("settle",): ("1",),
    ("top-up",): ("1",),
    ("vana", "reward"): ("1",),
    ("vana", "score"): ("1",),
}
"""What each command that requires arguments requires; FILE and FOLDER stand for something that exists."""

OR_AN_OPTION = {("audit", "round"), ("score",)}
"""Commands that take an option in the place of their argument."""


def commands() -> dict[Path, Any]:
    """Every command by its words."""
    return dict(_walk(typer.main.get_command(app), ()))


def _walk(command: Any, words: Path) -> Iterator[tuple[Path, Any]]:
    if not hasattr(command, "commands"):
        yield words, command
        return
    for name, below in command.commands.items():
        yield from _walk(below, (*words, name))


def groups() -> list[Path]:
    """The words that only group commands; none at all is one of them."""
    return sorted({words[:size] for words in commands() for size in range(len(words))})


def valued(option: str | None = None) -> list[tuple[Path, str]]:
    """Every (command, option) whose option takes a value; with `option`, the commands that have it."""
    return [
        (words, parameter.opts[0])
        for words, command in commands().items()
        for parameter in command.params
        if parameter.param_type_name == "option" and not parameter.is_flag and option in (None, parameter.opts[0])
    ]


def line(words: Path, *more: str, file: str = "FILE", folder: str = "FOLDER") -> list[str]:
    """A command line with what the command requires, and `more`."""
    given = {"FILE": file, "FOLDER": folder}
    return [*words, *(given.get(position, position) for position in POSITIONS.get(words, ())), *more]
