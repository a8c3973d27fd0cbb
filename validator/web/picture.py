"""The picture of a round: scores with their error bars, and below them what was paid. Geometry only: the
template draws.

Contributions stand from the highest score to the lowest. Of more than MOST, every k-th is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from validator.rounds.evidence import Line
from validator.rounds.types import Status

MOST = 96
WIDTH, LEFT, RIGHT = 720, 64, 12
TOP, SCORES, GAP, PAYOUTS, BOTTOM = 14, 190, 34, 90, 30
HEIGHT = TOP + SCORES + GAP + PAYOUTS + BOTTOM
TICKS = 3
ERRORS = 2
"""The bars span this many standard errors to either side."""


@dataclass(frozen=True, slots=True)
class Mark:
    """One contribution in the picture; all lengths in the picture's units."""

    id: int
    kind: str
    raw: int
    stderr: int
    paid: int
    x: float
    y: float
    low: float
    high: float
    bar_y: float
    bar_height: float


@dataclass(frozen=True, slots=True)
class Tick:
    """One line of an axis and the value it stands for."""

    y: float
    value: int


@dataclass(frozen=True, slots=True)
class Picture:
    """Everything that the template draws. `shown` of `scored` contributions, each `bar` wide."""

    marks: list[Mark]
    scores: list[Tick]
    payouts: list[Tick]
    zero: float
    base: float
    bar: float
    scored: int
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT


def picture(lines: Sequence[Line]) -> Picture | None:
    """The picture of a final round; None when nothing in it was scored."""
    scored = sorted((line for line in lines if line.records), key=lambda line: (-line.raw, line.id))
    if not scored:
        return None
    shown = _sample(scored)
    low = min(0, min(line.raw - ERRORS * line.stderr for line in shown))
    high = max(0, max(line.raw + ERRORS * line.stderr for line in shown), low + 1)
    most = max(max(line.paid for line in shown), 1)
    base = TOP + SCORES + GAP + PAYOUTS
    step = (WIDTH - LEFT - RIGHT) / len(shown)

    def score_y(value: int) -> float:
        return round(TOP + SCORES * (high - value) / (high - low), 2)

    def mark(index: int, line: Line) -> Mark:
        tall = PAYOUTS * line.paid / most
        return Mark(
            id=line.id,
            kind="paid" if line.status == Status.PAID else "unpaid",
            raw=line.raw,
            stderr=line.stderr,
            paid=line.paid,
            x=round(LEFT + step * (index + 0.5), 2),
            y=score_y(line.raw),
            low=score_y(line.raw - ERRORS * line.stderr),
            high=score_y(line.raw + ERRORS * line.stderr),
            bar_y=round(base - tall, 2),
            bar_height=round(tall, 2),
        )

    return Picture(
        marks=[mark(index, line) for index, line in enumerate(shown)],
        scores=[Tick(score_y(value), value) for value in round_values(low, high)],
        payouts=[Tick(round(base - PAYOUTS * value / most, 2), value) for value in round_values(0, most, 2)],
        zero=score_y(0),
        base=base,
        bar=round(min(26.0, step * 0.7), 2),
        scored=len(scored),
    )


def _sample(scored: list[Line]) -> list[Line]:
    """At most MOST of them, evenly spaced by rank, the first and the last among them."""
    if len(scored) <= MOST:
        return scored
    return [scored[index * (len(scored) - 1) // (MOST - 1)] for index in range(MOST)]


def round_values(low: int, high: int, ticks: int = TICKS) -> list[int]:
    """Multiples of 1, 2 or 5 times a power of ten within [low, high]: at least `ticks` intervals, seldom twice that."""
    wanted = max(1, (high - low) // ticks)
    power = 10 ** (len(str(wanted)) - 1)
    step = max(power * factor for factor in (1, 2, 5) if power * factor <= wanted)
    return list(range(-(-low // step) * step, high + 1, step))
