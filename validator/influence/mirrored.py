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
from validator.influence.curvature import GaussNewton, flatten, unflatten
from validator.influence.folds import Folds, objective_gradient
from validator.influence.problem import Network, Problem
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


def mirrored_probes(problem: Problem, settings: MirroredSettings, seed: bytes, folds: Folds) -> tuple[Tensor, Tensor]:
    """Probes (2 folds, parameters) and their coefficients float64 (2 folds,), ascending ones first."""
    return (_proximal if settings.proximal else _published)(problem, settings, seed, folds)


def _published(problem: Problem, settings: MirroredSettings, seed: bytes, folds: Folds) -> tuple[Tensor, Tensor]:
    network = problem.network
    theta = flatten(copies(network, len(folds)))
    ascended = theta
    for _ in range(settings.steps):
        ascended = ascended + _slope(problem, network, ascended, folds) * settings.learning_rate
    distance = len(problem.anchor) * settings.learning_rate * settings.steps
    coefficient = torch.full((len(folds),), 1 / distance, dtype=torch.float64)
    return torch.cat([ascended, theta]), torch.cat([coefficient, -coefficient])


def _proximal(problem: Problem, settings: MirroredSettings, seed: bytes, folds: Folds) -> tuple[Tensor, Tensor]:
    network = problem.network
    theta = flatten(copies(network, len(folds)))
    curvature = GaussNewton(problem)
    damping = curvature.damping(settings.damping, Stream(seed, "curvature/trace"))
    rate, momentum = _heavy_ball(curvature.largest(Stream(seed, "mirrored/power"), 12), damping)
    outputs = torch.softmax(network.logits(network.weights(), problem.anchor.inputs), -1)
    push = _push(theta, _slope(problem, network, theta, folds), damping, settings.radius)
    ends = []
    for signed in (push, -push):
        place, velocity = theta, torch.zeros_like(theta)
        for _ in range(settings.steps):
            pull = _divergence_slope(problem, network, place, outputs) + (place - theta) * damping
            velocity = velocity * momentum - (pull - _slope(problem, network, place, folds) * signed) * rate
            place = place + velocity
        ends.append(place)
    coefficient = 1 / (2 * len(problem.anchor) * push.to(torch.float64).squeeze(1))
    return torch.cat(ends), torch.cat([coefficient, -coefficient])


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


def _slope(problem: Problem, network: Network, flat: Tensor, folds: Folds) -> Tensor:
    return flatten(objective_gradient(problem, network, unflatten(flat, network.weights()), folds))


def _divergence_slope(problem: Problem, network: Network, flat: Tensor, outputs: Tensor) -> Tensor:
    """Gradient of the anchor's mean KL divergence from `outputs` (n, ..., classes) at each network."""
    anchor, weights = problem.anchor, unflatten(flat, network.weights())
    share = problem.training().share(anchor.targets).unsqueeze(-1) / len(anchor)
    return flatten(
        network.gradient(
            weights, anchor.inputs.unsqueeze(0), lambda logits: (torch.softmax(logits, -1) - outputs) * share
        )
    )
