"""What a configuration may say: for each entry its kind and range. Whatever is not in a table is refused."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from validator.influence import InfluenceError

_DECIMAL = re.compile(r"[0-9]{1,12}(\.[0-9]{1,12})?", re.ASCII)


class Entry(Protocol):
    """Reads one value: what the manifest holds to what the library takes, and back."""

    def read(self, name: str, value: object) -> object:
        """The library's value; raises InfluenceError that begins with the name."""
        ...

    def write(self, name: str, value: object) -> object:
        """The manifest's value of a library's value; raises InfluenceError when the manifest cannot say it."""
        ...


@dataclass(frozen=True, slots=True)
class Whole:
    """An integer in least .. most."""

    least: int
    most: int

    def read(self, name: str, value: object) -> object:
        """The same integer."""
        if type(value) is not int or not self.least <= value <= self.most:
            raise InfluenceError(f"{name} must be an integer in {self.least} .. {self.most}, not {str(value)[:40]!r}")
        return value

    write = read


@dataclass(frozen=True, slots=True)
class Flag:
    """True or false."""

    def read(self, name: str, value: object) -> object:
        """The same."""
        if type(value) is not bool:
            raise InfluenceError(f"{name} must be true or false, not {str(value)[:40]!r}")
        return value

    write = read


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few texts."""

    names: tuple[str, ...]

    def read(self, name: str, value: object) -> object:
        """The same text."""
        if not isinstance(value, str) or value not in self.names:
            raise InfluenceError(f"{name} must be one of {', '.join(self.names)}, not {str(value)[:40]!r}")
        return value

    write = read


@dataclass(frozen=True, slots=True)
class Real:
    """A number in least .. most, a decimal string in the manifest."""

    least: float
    most: float

    def read(self, name: str, value: object) -> object:
        """The nearest float64 of a decimal string."""
        if not isinstance(value, str) or not _DECIMAL.fullmatch(value) or not self.least <= float(value) <= self.most:
            raise InfluenceError(
                f'{name} must be a decimal string such as "0.00001" in {self.least} .. {self.most}, '
                f"not {str(value)[:40]!r}"
            )
        return float(value)

    def write(self, name: str, value: object) -> object:
        """The shortest decimal string that reads as this number."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InfluenceError(f"{name} must be a number, not {str(value)[:40]!r}")
        text = format(Decimal(repr(value)), "f")
        whole = text.removesuffix(".0")
        if self.read(name, whole) != value:
            raise InfluenceError(f"{name} has more digits than a manifest can say: {value!r}")
        return whole


@dataclass(frozen=True, slots=True)
class Group:
    """An object of entries of its own, all required."""

    entries: Mapping[str, Entry]

    def read(self, name: str, value: object) -> dict[str, object]:
        """Each entry as it reads."""
        given = self._given(name, value)
        return {key: entry.read(f"{name}.{key}", given[key]) for key, entry in self.entries.items()}

    def write(self, name: str, value: object) -> dict[str, object]:
        """Each entry as it writes."""
        given = self._given(name, value)
        return {key: entry.write(f"{name}.{key}", given[key]) for key, entry in self.entries.items()}

    def _given(self, name: str, value: object) -> Mapping[str, object]:
        if not isinstance(value, Mapping) or set(value) != set(self.entries):
            raise InfluenceError(f"{name} must have exactly the entries {', '.join(sorted(self.entries))}")
        return value
