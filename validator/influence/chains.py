"""Draws from the local posterior of the weights, in the coordinates of its stiff directions.

    density(w) ~ exp(-n_beta (L(w) - slope . (w - theta)) - gamma / 2 |w - theta|^2),   w in theta + span(directions)

L is the anchor's mean cross-entropy and `slope` its gradient at theta, so that theta is critical, as it is for the loss
that a model was really trained on: weight decay cancels the slope at a minimum, and what else it adds, `n_beta decay /
2 |w - theta|^2`, is localisation. With `w = theta + coordinates . directions / sqrt(n_beta)` and directions that the
damped curvature makes orthonormal, the local Gaussian is the standard normal of the coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from validator.exact.random import Stream
from validator.influence.curvature import dots, flatten, unflatten
from validator.influence.problem import Problem
from validator.influence.records import Records
from validator.influence.subspace import ROWS

_POWER = 12
"""Steps of the power iteration that bounds the step size."""


@dataclass(frozen=True, slots=True, eq=False)
class Local:
    """The posterior around theta (1, parameters): `directions` float32 (k, parameters), `damping` and `n_beta`
    scalars.
    """

    problem: Problem
    theta: Tensor
    directions: Tensor
    damping: Tensor
    n_beta: Tensor

    def weights(self, coordinates: Tensor) -> Tensor:
        """Weights (m, parameters) at coordinates float32 (m, k)."""
        return self.theta + self._shift(coordinates)

    def slope(self, coordinates: Tensor, rows: Tensor | None) -> Tensor:
        """Gradient of minus the log density in the coordinates, (m, k), estimated from the anchor's `rows` (all:
        None).

        The same rows' gradient at theta is subtracted: what is left of the sampling noise vanishes at theta (SGLD-CV,
        Baker et al. 2019).
        """
        shift = self._shift(coordinates)
        pull = self._gradient(self.theta + shift, rows) - self._gradient(self.theta, rows) + shift * self.damping
        return (pull @ self.directions.T) * torch.sqrt(self.n_beta).to(torch.float32)

    def steepness(self, start: Tensor, stream: Stream) -> Tensor:
        """Largest curvature of minus the log density at the draw `start` (1, k), by power iteration on secants of one
        standard deviation, a scalar; at least 1, which it is where the posterior is its local Gaussian.
        """
        here, way, most = self.slope(start, None), stream.normal(start.shape), torch.ones(())
        for _ in range(_POWER):
            way = way / torch.sqrt(dots(way, way))
            way = self.slope(start + way, None) - here
            most = torch.maximum(most, torch.sqrt(dots(way, way)).squeeze())
        return most

    def _shift(self, coordinates: Tensor) -> Tensor:
        return (coordinates @ self.directions) / torch.sqrt(self.n_beta).to(torch.float32)

    def _gradient(self, flat: Tensor, rows: Tensor | None) -> Tensor:
        """Gradient of the mean loss of the anchor's `rows` at each of the weights (m, parameters)."""
        rows = torch.arange(len(self.problem.anchor)) if rows is None else rows
        total = torch.zeros_like(flat, dtype=torch.float64)
        for first in range(0, len(rows), ROWS):
            total = total + self._gradient_sum(flat, self.problem.anchor.select(rows[first : first + ROWS]))
        return (total / len(rows)).to(torch.float32)

    def _gradient_sum(self, flat: Tensor, some: Records) -> Tensor:
        network, loss = self.problem.network, self.problem.training()
        found = network.gradient(
            unflatten(flat, network.weights()),
            some.inputs.unsqueeze(0),
            lambda logits: loss.slope(logits, some.targets.expand(logits.shape[0], *some.targets.shape)),
        )
        return flatten(found)


@dataclass(frozen=True, slots=True)
class Walk:
    """How a chain walks: steps before the first draw, steps between draws, the step as a share of what the curvature
    allows, anchor rows a step (0: all).
    """

    burn_in: int
    thinning: int
    step: float
    batch: int


def walk(local: Local, start: Tensor, draws: int, how: Walk, steepness: Tensor, seed: bytes, chain: int) -> Tensor:
    """Coordinates of one chain's draws, float32 (draws, k), by preconditioned Langevin steps from `start` (1, k).

    The noise of a step is the mean of two successive normals (Leimkuhler & Matthews 2013), which makes the draws of a
    Gaussian exact at any stable step. Chains 2i and 2i + 1 are antithetic: one noise, negated.
    """
    pair, sign = chain // 2, 1 - 2 * (chain % 2)
    noise, order = Stream(seed, f"bayesian/noise/{pair}"), Stream(seed, f"bayesian/rows/{pair}")
    length = how.step / steepness
    place, before, found = start, noise.normal(start.shape), []
    for step in range(how.burn_in + draws * how.thinning):
        after = noise.normal(start.shape)
        rows = order.integers(len(local.problem.anchor), (how.batch,)) if how.batch else None
        place = place - local.slope(place, rows) * length + (before + after) * (torch.sqrt(length / 2) * sign)
        before = after
        if step >= how.burn_in and (step - how.burn_in) % how.thinning == how.thinning - 1:
            found.append(place)
    return torch.cat(found)
