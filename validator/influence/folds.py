"""Queries dealt into folds: each fold gets an estimate of its own, and their spread is the standard error.

A column of a probe set belongs to one fold. Per query, each query is a fold.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from validator.influence.problem import Network, Problem, Weights, spread

_ROWS = 512


@dataclass(frozen=True, slots=True, eq=False)
class Folds:
    """`positions` int64 (folds, longest): queries of each fold, short folds filled up with any query; `share` float32
    (folds, longest): 1 / size of the fold for its queries, 0 for the filling.
    """

    positions: Tensor
    share: Tensor

    def __len__(self) -> int:
        return int(self.positions.shape[0])

    def between(self, start: int, end: int) -> Folds:
        """Some of the folds."""
        return Folds(self.positions[start:end], self.share[start:end])

    def sizes(self) -> Tensor:
        """Number of queries in each fold, int64 (folds,)."""
        return (self.share > 0).sum(1)


def deal(queries: int, folds: int) -> Folds:
    """Query q goes to fold q mod folds, like cards; never more folds than queries."""
    count = min(queries, folds)
    longest = -(-queries // count)
    grid = torch.arange(count * longest).reshape(longest, count).T.contiguous()
    inside = grid < queries
    share = inside / inside.sum(1, keepdim=True).to(torch.float32)
    return Folds(torch.where(inside, grid, 0), share)


def objective_gradient(problem: Problem, network: Network, weights: Weights, folds: Folds) -> Weights:
    """Gradient of each fold's mean objective at a batch of networks, one network a fold: tensors (folds, ...).

    Long folds are taken _ROWS queries at a time and the parts added in float64, in their order: the cut is part of the
    arithmetic and does not follow the memory.
    """
    starts = range(0, folds.positions.shape[1], _ROWS)
    parts = [_gradient(problem, network, weights, folds, slice(start, start + _ROWS)) for start in starts]
    if len(parts) == 1:
        return parts[0]
    totals = {name: first.to(torch.float64) for name, first in parts[0].items()}
    for part in parts[1:]:
        totals = {name: total + part[name].to(torch.float64) for name, total in totals.items()}
    return {name: total.to(torch.float32) for name, total in totals.items()}


def _gradient(problem: Problem, network: Network, weights: Weights, folds: Folds, some: slice) -> Weights:
    queries, measure = problem.queries, problem.measure()
    positions, share = folds.positions[:, some], folds.share[:, some]
    targets = queries.targets[positions]
    return network.gradient(
        weights, queries.inputs[positions], lambda logits: measure.slope(logits, targets) * spread(share, logits)
    )
