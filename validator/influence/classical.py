"""`classical`: influence functions (Koh & Liang 2017) with Gauss-Newton curvature, read out by two forward passes a
fold.

The direction `v = (G + damping)^-1 grad objective` is found by conjugate gradients on exact arithmetic. Adding a
record of loss l to N training records moves the weights by `-(G + damping)^-1 grad l / N`, so the objective drops
by `v . grad l / N`, which is the difference of the record's loss at `theta + eps v` and at `theta - eps v`, over `2
eps N`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from validator.exact import frozen
from validator.exact.random import Stream
from validator.influence.curvature import GaussNewton, dots, flatten, solve
from validator.influence.folds import Folds, objective_gradient
from validator.influence.problem import Network, Problem
from validator.influence.settings import Settings, limited


@dataclass(frozen=True, slots=True)
class ClassicalSettings(Settings):
    """`damping` is relative to the mean eigenvalue of the curvature (see GaussNewton.damping), `radius` the length of
    the step to a probe relative to the weights: long enough for float32 to resolve the difference, short enough for
    it to be linear.
    """

    damping: float = limited("damping", 1.0, 1e-9, 1e9)
    iterations: int = limited("iterations", 32, 1, 100_000)
    radius: float = limited("radius", 1e-2, 1e-6, 1.0)
    folds: int = limited("folds", 4, 1, 2**16)


def classical_probes(problem: Problem, settings: ClassicalSettings, seed: bytes, folds: Folds) -> tuple[Tensor, Tensor]:
    """Probes (2 folds, parameters), `theta + eps v` of every fold, then `theta - eps v`; coefficients float64 (2
    folds,).
    """
    network = problem.network
    theta = flatten({name: w.unsqueeze(0) for name, w in network.weights().items()})
    with frozen([*network.weights().values(), problem.anchor.inputs]):
        curvature = GaussNewton(problem)
        damping = curvature.damping(settings.damping, Stream(seed, "curvature/trace"))
        gradient = flatten(objective_gradient(problem, network, copies(network, len(folds)), folds))
        direction = solve(curvature, damping, gradient, settings.iterations)
    step = eps(theta, direction, settings.radius)
    coefficient = 1 / (2 * len(problem.anchor) * step.to(torch.float64).squeeze(1))
    return torch.cat([theta + direction * step, theta - direction * step]), torch.cat([coefficient, -coefficient])


def copies(network: Network, count: int) -> dict[str, Tensor]:
    """The network's weights `count` times over."""
    return {name: w.expand(count, *w.shape) for name, w in network.weights().items()}


def eps(theta: Tensor, direction: Tensor, radius: float) -> Tensor:
    """Step (folds, 1) that moves the weights by `radius` of their own length, taken as 1 when they are all zero; 1
    where the direction is zero.
    """
    reach, length = dots(theta, theta), dots(direction, direction)
    ratio = torch.where(reach > 0, reach, 1.0) / torch.where(length > 0, length, 1.0)
    return torch.where(length > 0, torch.sqrt(ratio) * radius, 1.0)
