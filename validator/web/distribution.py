"""The other picture of a round: how many contributions have which score. Geometry only: the template draws.

It is drawn where the first one cannot show every contribution, or nearly so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from validator.rounds.evidence import Line
from validator.rounds.types import Status
from validator.web.picture import LEFT, RIGHT, WIDTH, Tick, round_values

FEWEST = 24
"""With fewer scored contributions a histogram says nothing that the first picture does not."""
BINS = 32
TOP, TALL, BOTTOM = 14, 150, 30
HEIGHT = TOP + TALL + BOTTOM


@dataclass(frozen=True, slots=True)
class Bin:
    """Contributions with low <= score < high (the last one holds its upper end), paid below and unpaid on top."""

    low: int
    high: int
    paid: int
    unpaid: int
    x: float
    paid_y: float
    paid_height: float
    unpaid_y: float
    unpaid_height: float


@dataclass(frozen=True, slots=True)
class Distribution:
    """Everything that the template draws. `low` and `high` are the scores at the ends of the axis, in 1e-9; a tick of
    `scores` stands at `y` from the left.
    """

    bins: list[Bin]
    counts: list[Tick]
    scores: list[Tick]
    low: int
    high: int
    bar: float
    scored: int
    base: float = TOP + TALL
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT


def distribution(lines: Sequence[Line]) -> Distribution | None:
    """The histogram of a final round's scores; None when fewer than FEWEST were scored."""
    scored = [line for line in lines if line.records]
    if len(scored) < FEWEST:
        return None
    low, high = min(line.raw for line in scored), max(line.raw for line in scored)
    span = max(1, high - low)
    paid, unpaid = [0] * BINS, [0] * BINS
    for line in scored:
        place = min(BINS - 1, (line.raw - low) * BINS // span)
        (paid if line.status == Status.PAID else unpaid)[place] += 1
    most = max(map(sum, zip(paid, unpaid, strict=True)))
    step = (WIDTH - LEFT - RIGHT) / BINS

    def bin_(index: int) -> Bin:
        below, above = TALL * paid[index] / most, TALL * unpaid[index] / most
        return Bin(
            low=low + span * index // BINS,
            high=low + span * (index + 1) // BINS,
            paid=paid[index],
            unpaid=unpaid[index],
            x=round(LEFT + step * index + 1, 2),
            paid_y=round(TOP + TALL - below, 2),
            paid_height=round(below, 2),
            unpaid_y=round(TOP + TALL - below - above, 2),
            unpaid_height=round(above, 2),
        )

    return Distribution(
        bins=[bin_(index) for index in range(BINS)],
        counts=[Tick(round(TOP + TALL - TALL * value / most, 2), value) for value in round_values(0, most, 2)],
        scores=[Tick(round(LEFT + step * BINS * (v - low) / span, 2), v) for v in round_values(low, high, 5)],
        low=low,
        high=high,
        bar=round(step - 2, 2),
        scored=len(scored),
    )
