"""What many networks say about the same records."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from validator.influence.problem import Problem, Weights
from validator.influence.records import Records

_BLOCK = 32
"""Networks that meet the records at a time; bounds memory, changes no bit."""


def traces(problem: Problem, weights: Weights, records: Records, value: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """`value` of logits (float64) and targets, for each record at each of a batch of networks: float64 (T, n, ...)."""
    count = len(next(iter(weights.values())))
    rows = []
    for start in range(0, count, _BLOCK):
        some = {name: w[start : start + _BLOCK] for name, w in weights.items()}
        logits = problem.network.batched_logits(some, records.inputs.unsqueeze(0)).to(torch.float64)
        rows.append(value(logits, records.targets.expand(logits.shape[0], *records.targets.shape)))
    return torch.cat(rows)
