"""Labelled records: the anchor, the queries and what contributors bring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from validator.influence.errors import InfluenceError

NO_TARGET = -1
"""Stands in a sequence's targets where nothing is to be predicted: padding, or a prompt."""


@dataclass(frozen=True, slots=True, eq=False)
class Records:
    """Records that share one model: `inputs` (n, ...) of any dtype, and class indices `targets` int64, (n,) or, for
    sequences, (n, positions), where NO_TARGET stands at a position that has none.

    The order is part of the protocol: it is the order of the records in the canonical payload, and schedules of
    training refer to it. Raises InfluenceError on unequal lengths, targets of another dtype or shape, a sequence
    without any target, and inputs that are not finite.
    """

    inputs: Tensor = field(repr=False)
    targets: Tensor = field(repr=False)

    def __post_init__(self) -> None:
        if self.targets.dim() not in (1, 2) or self.targets.dtype != torch.int64:
            found = f"{self.targets.dtype} of {tuple(self.targets.shape)}"
            raise InfluenceError(f"targets must be int64 of shape (n,) or (n, positions), not {found}")
        if self.inputs.dim() < 1 or self.inputs.shape[0] != self.targets.shape[0]:
            raise InfluenceError(
                f"{self.targets.shape[0]} targets do not match inputs of shape {tuple(self.inputs.shape)}"
            )
        if not bool(torch.isfinite(self.inputs).all()):
            raise InfluenceError("inputs hold NaN or infinity")
        least = 0 if self.targets.dim() == 1 else NO_TARGET
        if len(self) and (self.targets.numel() == 0 or int(self.targets.min()) < least):
            raise InfluenceError("targets hold a negative class index, or no position at all")
        if self.targets.dim() == 2 and not bool((self.targets != NO_TARGET).any(1).all()):
            raise InfluenceError("a sequence has no target at any position")

    def __len__(self) -> int:
        return int(self.targets.shape[0])

    @property
    def nbytes(self) -> int:
        """Bytes of the values."""
        return int(self.inputs.nbytes + self.targets.nbytes)

    def select(self, indices: Tensor) -> Records:
        """The records at `indices` (m,) int64, in that order, repeats allowed."""
        return Records(self.inputs[indices], self.targets[indices])


def concat(parts: Sequence[Records]) -> Records:
    """One after the other. Raises InfluenceError when there is none or when shapes or dtypes of one record differ."""
    if not parts:
        raise InfluenceError("nothing to concatenate")
    kinds = {(part.inputs.dtype, part.inputs.shape[1:], part.targets.shape[1:]) for part in parts}
    if len(kinds) > 1:
        raise InfluenceError(f"records of different dtype or shape cannot be concatenated: {sorted(map(str, kinds))}")
    return Records(torch.cat([part.inputs for part in parts]), torch.cat([part.targets for part in parts]))
