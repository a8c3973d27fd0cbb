"""How attribution is judged: pure functions of estimates and of what retraining showed.

Estimates are float64 `values` (records, queries): the predicted drop of a query's loss if the record is trained on.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Agreement:
    """Rank correlations: the mean over queries of each query's own, and that of the mean objective."""

    per_query: float
    mean_objective: float


def ranks(values: Tensor) -> Tensor:
    """Ranks 0 .. n - 1 within each column of (n, columns), float64; ties share the mean of their places."""
    columns = values.to(torch.float64).T.contiguous()
    ordered = columns.sort(1).values
    first = torch.searchsorted(ordered, columns, right=False)
    after = torch.searchsorted(ordered, columns, right=True)
    return ((first + after - 1).to(torch.float64) / 2).T


def spearman(left: Tensor, right: Tensor) -> Tensor:
    """Spearman's rank correlation of each column of `left` (n, columns) with its partner; 0 where one is constant."""
    a, b = (ranks(side) - (side.shape[0] - 1) / 2 for side in (left, right))
    scale = (a.square().sum(0) * b.square().sum(0)).sqrt()
    return torch.where(scale > 0, (a * b).sum(0) / scale.clamp(min=1e-300), 0.0)


def lds(values: Tensor, masks: Tensor, losses: Tensor) -> Agreement:
    """Linear datamodeling score (Park et al. 2023): predicted against found losses over subsets.

    `masks` bool (subsets, records) says what was trained on, `losses` (subsets, queries) what came of it. The
    prediction of a subset is minus the sum of its records' values. With `values` (records, 1), estimates of the mean
    objective alone, there is no number per query: NaN.
    """
    predicted = -(masks.to(torch.float64) @ values.to(torch.float64))
    mean = spearman(predicted.mean(1, keepdim=True), losses.mean(1, keepdim=True)).item()
    each = float("nan") if values.shape[1] != losses.shape[1] else spearman(predicted, losses).mean().item()
    return Agreement(each, mean)


def split_half(by_seed: Tensor) -> Agreement:
    """How well one half of the seeds agrees with the other, over all ways to halve them; `by_seed` is (seeds,
    subsets, queries).
    """
    seeds = set(range(by_seed.shape[0]))
    if len(seeds) < 2:
        raise ValueError("one seed cannot be halved")
    found = []
    for half in itertools.combinations(sorted(seeds), len(seeds) // 2):
        left, right = (by_seed[sorted(part)].mean(0) for part in (set(half), seeds - set(half)))
        found.append(_agreement(left, right))
    return _mean(found)


def ceiling(by_seed: Tensor) -> Agreement:
    """What a perfect estimate would score: the square root of the reliability of the mean over seeds, by Spearman and
    Brown's formula from the agreement of single seeds.
    """
    count = by_seed.shape[0]
    pairs = itertools.combinations(range(count), 2)
    single = _mean([_agreement(by_seed[a], by_seed[b]) for a, b in pairs])
    return Agreement(_reliable(single.per_query, count) ** 0.5, _reliable(single.mean_objective, count) ** 0.5)


def auc(scores: Tensor, positive: Tensor) -> float:
    """Probability that a positive (bool (n,)) has the higher score than a negative, ties counting a half."""
    ups, downs = int(positive.sum()), int((~positive).sum())
    if not ups or not downs:
        raise ValueError("the area needs both kinds")
    total = ranks(scores.unsqueeze(1)).squeeze(1)[positive].sum().item()
    return (total - ups * (ups - 1) / 2) / (ups * downs)


def mislabel_auc(values: Tensor, wrong: Tensor) -> float:
    """How well low influence on clean queries finds wrong labels (bool (records,))."""
    return auc(-values.sum(1), wrong)


def _agreement(left: Tensor, right: Tensor) -> Agreement:
    mean = spearman(left.mean(1, keepdim=True), right.mean(1, keepdim=True)).item()
    return Agreement(spearman(left, right).mean().item(), mean)


def _mean(found: list[Agreement]) -> Agreement:
    each, mean = (
        sum(part) / len(found) for part in zip(*((a.per_query, a.mean_objective) for a in found), strict=True)
    )
    return Agreement(each, mean)


def _reliable(single: float, count: int) -> float:
    return max(0.0, count * single / (1 + (count - 1) * single))
