"""`mirrored`: Forward-INF, the Mirrored Influence Hypothesis (Ko et al. 2024): train on the queries, and see which
records notice.

- published (`proximal=0`): a few steps on the query objective from theta, up and down; a record's score is its change
  of loss between the two ends, over the distance travelled. The paper takes the absolute change, which finds copies but
  pays for harm; ours keeps the sign. Its code steps by Adam (`adam=1`; Kingma & Ba 2015), which gives every weight the
  same pace; plain steps (`adam=0`) give the product of gradients. Cheap, and blind to curvature.
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
    """`proximal` 1 or 0. Proximal: `damping` and `rows` as in `classical`, `steps` of heavy-ball descent at the rate
    that the curvature allows, `radius` bounds the probes' distance relative to the weights. Published: `steps` of
    `learning_rate`, by Adam if `adam`; its authors take a single step.
    """

    proximal: int = limited("proximal", 1, 0, 1)
    damping: float = limited("damping", 0.01, 1e-9, 1e9)
    steps: int = limited("steps", 32, 1, 100_000)
    radius: float = limited("radius", 1e-2, 1e-6, 10.0)
    learning_rate: float = limited("learning_rate", 5e-3, 1e-9, 1e3)
    adam: int = limited("adam", 1, 0, 1)
    folds: int = limited("folds", 4, 1, 2**16)
    rows: int = limited("rows", ROWS, 1, 2**24)


class Mirrored:
    """What all folds share: where the anchor stands, and how fast it may move. To be made and used under `exact()`."""

    def __init__(self, problem: Problem, settings: MirroredSettings, seed: bytes) -> None:
        self._problem, self._network, self._settings = problem, problem.network, settings
        if settings.proximal:
            curvature = GaussNewton(problem, settings.rows)
            self._anchor = curvature.parts
            self._damping = curvature.ridge(settings.damping, Stream(seed, "curvature/trace"))
            largest = curvature.largest(Stream(seed, "mirrored/power"), 12)
            self._rate, self._momentum = _heavy_ball(largest, self._damping)

    def probes(self, folds: Folds) -> tuple[Tensor, Tensor]:
        """Probes (2 folds, parameters) and their coefficients float64 (2 folds,), ascending ones first."""
        theta = flatten(copies(self._network, len(folds)))
        return self._responses(theta, folds) if self._settings.proximal else self._published(theta, folds)

    def _published(self, theta: Tensor, folds: Folds) -> tuple[Tensor, Tensor]:
        ends = torch.cat([self._walk(theta, folds, self._settings.learning_rate * sign) for sign in (1, -1)])
        distance = 2 * len(self._problem.anchor) * self._settings.learning_rate * self._settings.steps
        coefficient = torch.full((len(folds),), 1 / distance, dtype=torch.float64)
        return ends, torch.cat([coefficient, -coefficient])

    def _walk(self, theta: Tensor, folds: Folds, rate: float) -> Tensor:
        """Ascending steps on the objective at a positive `rate`, descending ones at a negative."""
        place, pace = theta, _Adam(theta)
        for _ in range(self._settings.steps):
            slope = self._slope(place, folds)
            place = place + (pace(slope) if self._settings.adam else slope) * rate
        return place

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


class _Adam:
    """Adam's step at rate 1 (Kingma & Ba 2015, algorithm 1), with the constants of its authors."""

    def __init__(self, like: Tensor) -> None:
        self._mean, self._square = torch.zeros_like(like), torch.zeros_like(like)
        self._left = torch.ones(2, dtype=torch.float64)
        self._keep = torch.tensor([0.9, 0.999], dtype=torch.float64)

    def __call__(self, slope: Tensor) -> Tensor:
        first, second = self._keep.to(torch.float32)
        self._mean = self._mean * first + slope * (1 - first)
        self._square = self._square * second + slope * slope * (1 - second)
        self._left = self._left * self._keep
        one, two = (1 - self._left).to(torch.float32)
        step: Tensor = self._mean / one / (torch.sqrt(self._square / two) + 1e-8)
        return step


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
