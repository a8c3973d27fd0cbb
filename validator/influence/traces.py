"""What many networks say about the same records."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from validator.influence.problem import Problem, Weights
from validator.influence.records import Records

_NETWORKS, _RECORDS, _LOGITS = 32, 256, 2**22
"""Networks and records that meet at a time, and logits that may come of it; bounds memory, changes no bit."""


def traces(problem: Problem, weights: Weights, records: Records, value: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """`value` of logits (float64) and targets, for each record at each of a batch of networks: float64 (T, n, ...)."""
    one = problem.classes * records.targets[:1].numel()
    few = max(1, min(_RECORDS, _LOGITS // one))
    blocks = [
        Records(records.inputs[start : start + few], records.targets[start : start + few])
        for start in range(0, len(records), few)
    ]
    together = max(1, min(_NETWORKS, _LOGITS // (one * min(few, len(records)))))
    rows = []
    for start in range(0, len(next(iter(weights.values()))), together):
        some = {name: w[start : start + together] for name, w in weights.items()}
        rows.append(torch.cat([_values(problem, some, block, value) for block in blocks], 1))
    return torch.cat(rows)


def _values(problem: Problem, weights: Weights, records: Records, value: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    logits = problem.network.batched_logits(weights, records.inputs.unsqueeze(0)).to(torch.float64)
    return value(logits, records.targets.expand(logits.shape[0], *records.targets.shape))
