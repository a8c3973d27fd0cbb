"""From real scores to the integers that are signed.

Rounding happens once, at the very end: everything before it is float64 with reproducible bits.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from validator.influence.errors import InfluenceError

UNIT = 10**9
"""Fixed-point units in one unit of the objective: an integer score of 1 is 1e-9 of expected error."""

_LIMIT = 2**63 - 1


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """Predicted drop of the objective if the record (or group) were trained on: positive is helpful.

    `values` and `stderr` are float64 of shape (n,), one entry a record or group; with per-query probes (n,
    queries), and then `stderr` is zero: one query is no sample.
    """

    values: Tensor
    stderr: Tensor

    def __post_init__(self) -> None:
        if (
            self.values.dtype != torch.float64
            or self.stderr.dtype != torch.float64
            or self.values.shape != self.stderr.shape
        ):
            raise InfluenceError("values and stderr must be float64 of one shape")

    def to_fixed(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Values and standard errors of a one-dimensional score as integers of 1 / UNIT of the objective."""
        if self.values.dim() != 1:
            raise InfluenceError(f"only scores of shape (n,) are quantised, not {tuple(self.values.shape)}")
        return to_fixed(self.values.tolist()), to_fixed(self.stderr.tolist())


def to_fixed(values: Iterable[float]) -> tuple[int, ...]:
    """Nearest multiple of 1 / UNIT, ties to even, of the exact binary value: no double rounding.

    Saturates at what a signed 64-bit integer can hold; raises InfluenceError on NaN and infinity.
    """
    return tuple(_fixed(value) for value in values)


def _fixed(value: float) -> int:
    if not math.isfinite(value):
        raise InfluenceError(f"a score is not finite: {value}")
    # A linear estimate of absurd records can be absurdly large; it must be a number all the same, or one contribution
    # could keep a round from being scored.
    return max(-_LIMIT, min(_LIMIT, round(Fraction(value) * UNIT)))
