"""One answer of a preflight."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum

from validator.errors import ValidatorError
from validator.masking import Masker


class State(StrEnum):
    """Whether to go on: as it should be, worth a look, or not before it is mended."""

    PASS = "pass"  # noqa: S105 - no password
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Line:
    """What was looked at, what was found, and what to do about it (empty when nothing is)."""

    check: str
    state: State
    found: str
    cure: str = ""

    def to_dict(self) -> dict[str, str]:
        """For JSON."""
        return {name: str(value) for name, value in asdict(self).items()}


def passed(check: str, found: str) -> Line:
    """All is well."""
    return Line(check, State.PASS, found)


def warned(check: str, found: str, cure: str) -> Line:
    """The node can work, but not for long, or not as well as it might."""
    return Line(check, State.WARN, found, cure)


def failed(check: str, found: str, cure: str) -> Line:
    """The node cannot do its duty."""
    return Line(check, State.FAIL, found, cure)


def answered(check: str, ask: Callable[[], Iterable[Line]], cure: str = "mend what the line says") -> Iterator[Line]:
    """The lines of `ask`; an error ends them with a failure that says what it says."""
    try:
        yield from ask()
    except (ValidatorError, OSError) as error:
        yield failed(check, Masker().text(" ".join(str(error).split())), cure)
