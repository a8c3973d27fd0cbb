"""`classical`: influence functions (Koh & Liang 2017) with Gauss-Newton curvature, read out by two forward passes a
fold; and `ekfac`, the same with the curvature of ekfac.py, which is cheaper and coarser.

The direction `v = (G + damping)^-1 grad objective` is found on exact arithmetic by conjugate gradients that EK-FAC
conditions. Adding a record of loss l to N training records moves the weights by `-(G + damping)^-1 grad l / N`, so the
objective drops by `v . grad l / N`, which is the difference of the record's loss at `theta + eps v` and at `theta - eps
v`, over `2 eps N`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from validator.exact import frozen
from validator.exact.random import Stream
from validator.influence.curvature import ROWS, GaussNewton, dots, flatten, solve
from validator.influence.ekfac import Kronecker
from validator.influence.folds import Folds, objective_gradient
from validator.influence.problem import Network, Problem
from validator.influence.settings import Settings, limited


@dataclass(frozen=True, slots=True)
class ClassicalSettings(Settings):
    """`damping` is relative to the curvature (see GaussNewton.ridge), `iterations` the steps
    of conjugate gradients, `draws` the labels that EK-FAC draws for each record (0: see Kronecker), `rows` the anchor
    records of a pass. `radius` is the length of the step to a probe relative to the weights: long enough for float32 to
    resolve the difference, short enough for it to be linear.
    """

    damping: float = limited("damping", 0.01, 1e-9, 1e9)
    iterations: int = limited("iterations", 6, 0, 100_000)
    radius: float = limited("radius", 1e-2, 1e-6, 1.0)
    folds: int = limited("folds", 4, 1, 2**16)
    draws: int = limited("draws", 0, 0, 10_000)
    rows: int = limited("rows", ROWS, 1, 2**24)


@dataclass(frozen=True, slots=True)
class EkfacSettings(Settings):
    """`damping` is relative to the mean eigenvalue of each layer; the others as in `classical`."""

    damping: float = limited("damping", 0.1, 1e-9, 1e9)
    radius: float = limited("radius", 1e-2, 1e-6, 1.0)
    folds: int = limited("folds", 4, 1, 2**16)
    draws: int = limited("draws", 0, 0, 10_000)
    rows: int = limited("rows", ROWS, 1, 2**24)


class Classical:
    """What all folds share: the curvature, found once. To be made and used under `exact()`."""

    def __init__(self, problem: Problem, settings: ClassicalSettings | EkfacSettings, seed: bytes) -> None:
        self._problem, self._settings = problem, settings
        self._kronecker = Kronecker(problem, seed, settings.draws, settings.rows)
        self._fixed = [*problem.network.weights().values(), problem.anchor.inputs, *self._kronecker.bases()]
        if isinstance(settings, ClassicalSettings):
            with frozen(self._fixed):
                self._curvature = GaussNewton(problem, settings.rows)
                self._damping = self._curvature.ridge(settings.damping, Stream(seed, "curvature/trace"))

    def probes(self, folds: Folds) -> tuple[Tensor, Tensor]:
        """Probes (2 folds, parameters), `theta + eps v` of every fold, then `theta - eps v`; coefficients float64 (2
        folds,).
        """
        network = self._problem.network
        with frozen(self._fixed):
            gradient = flatten(objective_gradient(self._problem, network, copies(network, len(folds)), folds))
            direction = self.direction(gradient)
        theta = flatten(copies(network, 1))
        step = eps(theta, direction, self._settings.radius)
        coefficient = 1 / (2 * len(self._problem.anchor) * step.to(torch.float64).squeeze(1))
        return torch.cat([theta + direction * step, theta - direction * step]), torch.cat([coefficient, -coefficient])

    def direction(self, gradient: Tensor) -> Tensor:
        """The damped inverse curvature times each row of `gradient` (folds, parameters)."""
        if isinstance(self._settings, EkfacSettings):
            return self._kronecker.solve(gradient, relative=self._settings.damping)
        return solve(
            self._curvature,
            self._damping,
            gradient,
            self._settings.iterations,
            lambda residual: self._kronecker.solve(residual, self._damping),
        )


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
