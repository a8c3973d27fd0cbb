"""What many networks say about the same records."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from validator.exact import frozen
from validator.influence.problem import Problem, Weights
from validator.influence.records import Records

_PAIRS = 256
"""Pairs of a record and a network in one call, at least."""


def traces(problem: Problem, weights: Weights, records: Records, value: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """`value` of logits (float64) and targets, for each record at each of a batch of networks: float64 (T, n, ...).

    One network after the other on the same inputs, which are snapped to their grids once; many networks together where
    the records are so few that the calls would cost more than the work. The bits are the same.
    """
    count, rows = len(next(iter(weights.values()))), []
    together = max(1, _PAIRS // len(records))
    with frozen([records.inputs]):
        for start in range(0, count, together):
            some = {name: w[start : start + together] for name, w in weights.items()}
            if together == 1:
                one = {name: w[0] for name, w in some.items()}
                logits = problem.network.logits(one, records.inputs).unsqueeze(0)
            else:
                logits = problem.network.batched_logits(some, records.inputs.unsqueeze(0))
            targets = records.targets.expand(logits.shape[0], *records.targets.shape)
            rows.append(value(logits.to(torch.float64), targets))
    return torch.cat(rows)
