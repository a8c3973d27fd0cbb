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

    def __reduce__(self) -> tuple[type[Records], tuple[Tensor, Tensor]]:
        """For the way to a worker: these records, and nothing else of a memory that holds more (see Growing)."""
        return Records, (_own(self.inputs), _own(self.targets))

    def select(self, indices: Tensor) -> Records:
        """The records at `indices` (m,) int64, in that order, repeats allowed."""
        return _of_checked(self.inputs[indices], self.targets[indices])

    def between(self, start: int, stop: int) -> Records:
        """The records from `start` up to `stop`, in the memory of these."""
        return _of_checked(self.inputs[start:stop], self.targets[start:stop])

    def split(self, size: int) -> list[Records]:
        """All records, `size` and `size` in the memory of these, and a last piece of what is left."""
        return [self.between(start, start + size) for start in range(0, len(self), size)]


def concat(parts: Sequence[Records]) -> Records:
    """One after the other. Raises InfluenceError when there is none or when shapes or dtypes of one record differ."""
    if not parts:
        raise InfluenceError("nothing to concatenate")
    kinds = {_kind(part) for part in parts}
    if len(kinds) > 1:
        raise InfluenceError(f"records of different dtype or shape cannot be concatenated: {sorted(map(str, kinds))}")
    return Records(torch.cat([part.inputs for part in parts]), torch.cat([part.targets for part in parts]))


class Growing:
    """Records to which more are added, over and over, in time by what is added, on average; each `concat` would copy,
    and look at, all that came before.
    """

    def __init__(self, first: Records) -> None:
        self._kind, self._inputs, self._targets = _kind(first), first.inputs, first.targets

    def with_more(self, before: Records, more: Records) -> Records:
        """`before`, which is what this held from the outset or an answer of this function, and `more` behind it. What
        stood behind `before` is given up: an earlier answer that was longer must not be used any more.
        """
        if _kind(more) != self._kind:
            raise InfluenceError(f"records of another dtype or shape cannot be added: {_kind(more)}, not {self._kind}")
        start, end = len(before), len(before) + len(more)
        if end > len(self._targets):
            self._inputs, self._targets = (_roomier(part, start, end) for part in (self._inputs, self._targets))
        self._inputs[start:end], self._targets[start:end] = more.inputs, more.targets
        return _of_checked(self._inputs[:end], self._targets[:end])


def _kind(records: Records) -> tuple[object, ...]:
    return records.inputs.dtype, records.inputs.shape[1:], records.targets.shape[1:]


def _own(values: Tensor) -> Tensor:
    return values if values.untyped_storage().nbytes() == values.nbytes else values.clone()


def _roomier(part: Tensor, used: int, wanted: int) -> Tensor:
    """The first `used` of `part`, in room for half as many more than are `wanted`."""
    roomy = part.new_empty((wanted + wanted // 2, *part.shape[1:]))
    roomy[:used] = part[:used]
    return roomy


def _of_checked(inputs: Tensor, targets: Tensor) -> Records:
    """Records of values that stood in Records before: not looked at again."""
    found = object.__new__(Records)
    object.__setattr__(found, "inputs", inputs)
    object.__setattr__(found, "targets", targets)
    return found
