"""Forward-INF, published and proximal."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from validator.influence import Problem, Records, fit
from validator.influence.curvature import flatten
from validator.influence.probes import Probes


@pytest.fixture(scope="module")
def newcomers(digits: Records) -> Records:
    return digits.select(torch.arange(300, 420))


def fitted(problem: Problem, **params: int | float) -> Probes:
    found = fit(problem, "mirrored", seed=1, **params)
    assert isinstance(found, Probes)
    return found


def correlation(left: Tensor, right: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([left, right]))[0, 1])


def test_mirrored__proximal__scores_like_classical(problem: Problem, newcomers: Records) -> None:
    classical = fit(problem, "classical", seed=1).score(newcomers).values
    assert correlation(fitted(problem, steps=48).score(newcomers).values, classical) > 0.95


def test_mirrored__published__goes_both_ways_by_equal_steps(problem: Problem) -> None:
    probes, theta = fitted(problem, proximal=0, steps=1, folds=2), problem.network.weights()
    here = flatten({name: w.unsqueeze(0) for name, w in theta.items()})
    up, down = (flatten(probes.weights)[rows] - here for rows in ([0, 1], [2, 3]))
    assert torch.allclose(up, -down, atol=1e-6)
    # Adam's first step is the sign of the slope, whatever its size.
    assert up.abs().max().item() == pytest.approx(5e-3, rel=1e-3)


def test_mirrored__published__coefficients_are_over_the_distance(problem: Problem) -> None:
    probes = fitted(problem, proximal=0, steps=3, learning_rate=0.01, folds=1)
    assert probes.coefficients.tolist() == pytest.approx([1 / (2 * 80 * 0.03), -1 / (2 * 80 * 0.03)])


def test_mirrored__adam__agrees_with_torch(problem: Problem) -> None:
    """Three steps up against torch.optim.Adam with maximize."""
    module = problem.network.module()
    weights = {name: w.clone().requires_grad_() for name, w in problem.network.weights().items()}
    optimiser = torch.optim.Adam(weights.values(), lr=5e-3, maximize=True)
    for _ in range(3):
        optimiser.zero_grad()
        logits = torch.func.functional_call(module, weights, (problem.queries.inputs,))
        problem.measure().value(logits, problem.queries.targets).mean().backward()
        optimiser.step()
    found = fitted(problem, proximal=0, steps=3, folds=1).weights
    for name, w in weights.items():
        close = (found[name][0] - w).abs() < 1e-4
        # Where a slope is zero to rounding, its sign, and so the step, is a toss.
        assert float(close.float().mean()) > 0.97
