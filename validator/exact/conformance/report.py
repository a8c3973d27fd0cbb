"""What a self-test asks and what it answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch


@dataclass(frozen=True, slots=True)
class Fact:
    """Something about a device that exact arithmetic rests on.

    `check` looks at one device and says what it found wrong, in one line, or None. `meaning` says what holds, `cure`
    what to do where it does not.
    """

    name: str
    meaning: str
    cure: str
    check: Callable[[torch.device], str | None]


@dataclass(frozen=True, slots=True)
class Fault:
    """One check that failed: its name, what differs, and the likely cause with its cure."""

    check: str
    found: str
    cure: str

    def __str__(self) -> str:
        return f"{self.check}: {self.found}; {self.cure}"


@dataclass(frozen=True, slots=True)
class Group:
    """Checks of one kind. `notes` names what could not be checked here, and why. `seconds` is for the reader only."""

    name: str
    checks: int
    faults: tuple[Fault, ...]
    notes: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Report:
    """A self-test: groups from the most elementary on, so that the first fault is the likeliest cause of the others."""

    version: int
    device: str
    machine: dict[str, str]
    groups: tuple[Group, ...]

    @property
    def ok(self) -> bool:
        """Whether every check passed."""
        return self.culprit is None

    @property
    def culprit(self) -> Fault | None:
        """The most elementary fault."""
        return next((fault for group in self.groups for fault in group.faults), None)

    @property
    def verdict(self) -> str:
        """One line: `certified: ...` or `FAILED: ...`."""
        if self.culprit is not None:
            return f"FAILED: {self.culprit}"
        return f"certified: exact version {self.version}, torch {self.machine['torch']}, device {self.device}"

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"ok": self.ok, "verdict": self.verdict, **asdict(self)}

    def lines(self) -> list[str]:
        """For people: a line for each group, its notes and faults below it, the verdict at the end."""
        width = max((len(group.name) for group in self.groups), default=0)
        told = []
        for group in self.groups:
            state = f"{len(group.faults)} FAILED" if group.faults else "ok"
            told.append(f"{group.name:<{width}}  {group.checks:>4} checks  {group.seconds:6.2f} s  {state}")
            told += [f"    {note}" for note in group.notes]
            told += [f"    {fault}" for fault in group.faults]
        return [*told, self.verdict]
