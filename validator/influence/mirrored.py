"""`mirrored`: Forward-INF, the Mirrored Influence Hypothesis (Ko et al. 2024): train on the queries, and see which
records notice.

- published (`proximal=0`): a few ascending steps on the query objective from theta; a record's score is its signed
  change of loss, over the distance travelled. Cheap, and blind to curvature.
- proximal (`proximal=1`): let the training set answer. The probes minimise `mean KL(p_theta || p_w) over the anchor
  + damping / 2 |w - theta|^2 -+ push * objective(w)`, the proximal Bregman response (Bae et al. 2022). The
  divergence has no slope at theta, so theta need not be a critical point, and its curvature there is
  Gauss-Newton's: to first order the minimiser is `theta +- push (G + damping)^-1 grad objective`, the classical
  direction, found by training alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from validator.exact.random import Stream
from validator.influence.classical import copies, eps
from validator.influence.curvature import ROWS, GaussNewton, flatten, unflatten
from validator.influence.folds import Folds, objective_gradient
from validator.influence.problem import Problem
from validator.influence.settings import Settings, limited


@dataclass(frozen=True, slots=True)
class MirroredSettings(Settings):
    """`proximal` 1 or 0. Proximal: `damping` as in `classical`, `steps` of heavy-ball descent at the rate that the
    curvature allows, `radius` bounds the probes' distance relative to the weights. Published: `steps` ascending
    steps of `learning_rate`.
    """

    proximal: int = limited("proximal", 1, 0, 1)
    damping: float = limited("damping", 1.0, 1e-9, 1e9)
    steps: int = limited("steps", 64, 1, 100_000)
    radius: float = limited("radius", 1e-2, 1e-6, 10.0)
    learning_rate: float = limited("learning_rate", 1e-2, 1e-9, 1e3)
    folds: int = limited("folds", 4, 1, 2**16)
    rows: int = limited("rows", ROWS, 1, 2**24)


class Mirrored:
    """What all folds share: where the anchor stands, and how fast it may move. To be made and used under `exact()`."""

    def __init__(self, problem: Problem, settings: MirroredSettings, seed: bytes) -> None:
        self._problem, self._network, self._settings = problem, problem.network, settings
        if settings.proximal:
            curvature = GaussNewton(problem, settings.rows)
            self._anchor = curvature.parts
            self._damping = curvature.damping(settings.damping, Stream(seed, "curvature/trace"))
            largest = curvature.largest(Stream(seed, "mirrored/power"), 12)
            self._rate, self._momentum = _heavy_ball(largest, self._damping)

    def probes(self, folds: Folds) -> tuple[Tensor, Tensor]:
        """Probes (2 folds, parameters) and their coefficients float64 (2 folds,), ascending ones first."""
        theta = flatten(copies(self._network, len(folds)))
        return self._responses(theta, folds) if self._settings.proximal else self._published(theta, folds)

    def _published(self, theta: Tensor, folds: Folds) -> tuple[Tensor, Tensor]:
        ascended = theta
        for _ in range(self._settings.steps):
            ascended = ascended + self._slope(ascended, folds) * self._settings.learning_rate
        distance = len(self._problem.anchor) * self._settings.learning_rate * self._settings.steps
        coefficient = torch.full((len(folds),), 1 / distance, dtype=torch.float64)
        return torch.cat([ascended, theta]), torch.cat([coefficient, -coefficient])

    def _responses(self, theta: Tensor, folds: Folds) -> tuple[Tensor, Tensor]:
        push = _push(theta, self._slope(theta, folds), self._damping, self._settings.radius)
        ends = [self._response(theta, folds, signed) for signed in (push, -push)]
        coefficient = 1 / (2 * len(self._problem.anchor) * push.to(torch.float64).squeeze(1))
        return torch.cat(ends), torch.cat([coefficient, -coefficient])

    def _response(self, theta: Tensor, folds: Folds, push: Tensor) -> Tensor:
        """Where the training set and the pushed objective agree, (folds, parameters)."""
        place, velocity = theta, torch.zeros_like(theta)
        for _ in range(self._settings.steps):
            pull = self._divergence_slope(place) + (place - theta) * self._damping
            velocity = velocity * self._momentum - (pull - self._slope(place, folds) * push) * self._rate
            place = place + velocity
        return place

    def _slope(self, flat: Tensor, folds: Folds) -> Tensor:
        weights = unflatten(flat, self._network.weights())
        return flatten(objective_gradient(self._problem, self._network, weights, folds))

    def _divergence_slope(self, flat: Tensor) -> Tensor:
        """Gradient of the anchor's mean KL divergence from its outputs at theta, at each network."""
        weights = unflatten(flat, self._network.weights())
        total = torch.zeros_like(flat, dtype=torch.float64)
        for part in self._anchor:
            total.add_(flatten(self._network.gradient(weights, part.inputs.unsqueeze(0), part.divergence_slope)))
        return total.to(torch.float32)


def _heavy_ball(largest: Tensor, damping: Tensor) -> tuple[Tensor, Tensor]:
    """Polyak's rate and momentum for eigenvalues in damping .. 1.5 largest + damping: power iteration estimates from
    below.
    """
    root_most, root_least = torch.sqrt(largest * 1.5 + damping), torch.sqrt(damping)
    total = root_most + root_least
    ratio = (root_most - root_least) / total
    return (2 / total) * (2 / total), ratio * ratio


def _push(theta: Tensor, gradient: Tensor, damping: Tensor, radius: float) -> Tensor:
    """Weight of the objective (folds, 1) at which the probes stay within `radius` of the weights: |w - theta| <= push
    |gradient| / damping.
    """
    return eps(theta, gradient, radius) * damping
