"""What many networks say about the same records."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from validator.exact import frozen
from validator.influence.problem import Problem, Weights
from validator.influence.records import Records

_PAIRS, _LOGITS = 256, 2**22
"""Pairs of a record and a network in one call, at least; logits that may come of it, at most. Neither changes a bit."""

Value = Callable[[Tensor, Tensor], Tensor]


def traces(problem: Problem, weights: Weights, records: Records, value: Value) -> Tensor:
    """`value` of logits (float64) and targets, for each record at each of a batch of networks: float64 (T, n, ...).

    One network after the other on the same inputs, which are snapped to their grids once; many networks together where
    the records are so few that the calls would cost more than the work.
    """
    one = problem.classes * records.targets[:1].numel()
    few = max(1, _LOGITS // one)
    return torch.cat([_block(problem, weights, block, value) for block in records.split(few)], 1)


def _block(problem: Problem, weights: Weights, records: Records, value: Value) -> Tensor:
    count, together, found = len(next(iter(weights.values()))), max(1, _PAIRS // len(records)), []
    with frozen([records.inputs]):
        for start in range(0, count, together):
            some = {name: w[start : start + together] for name, w in weights.items()}
            if together == 1:
                alone = {name: w[0] for name, w in some.items()}
                logits = problem.network.logits(alone, records.inputs).unsqueeze(0)
            else:
                logits = problem.network.batched_logits(some, records.inputs.unsqueeze(0))
            targets = records.targets.expand(logits.shape[0], *records.targets.shape)
            found.append(value(logits.to(torch.float64), targets))
    return torch.cat(found)
