"""Which records are judged together."""

from __future__ import annotations

import torch
from torch import Tensor

from validator.influence.errors import InfluenceError


def members(count: int, groups: Tensor | None) -> list[Tensor]:
    """Positions of each group's records, int64, groups in ascending order of their id; each record alone without
    `groups`.

    Raises InfluenceError when there is no record or when `groups` is not int64 of shape (count,).
    """
    if count == 0:
        raise InfluenceError("there is no record to score")
    if groups is None:
        return list(torch.arange(count).unsqueeze(1).unbind())
    if groups.dtype != torch.int64 or groups.shape != (count,):
        raise InfluenceError(f"groups must be int64 of shape ({count},), not {groups.dtype} of {tuple(groups.shape)}")
    ids = groups.tolist()
    found: dict[int, list[int]] = {}
    for position, group in enumerate(ids):
        found.setdefault(group, []).append(position)
    return [torch.tensor(found[group], dtype=torch.int64) for group in sorted(found)]
