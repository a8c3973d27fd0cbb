"""Curvature of the training loss at the problem's weights: Gauss-Newton products, a damping rule, conjugate gradients.

Directions are flat: float32 (batch, parameters), parameters in the order of the model's names.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import vjp, vmap

from validator.exact.random import Stream
from validator.influence.problem import Problem, Weights


def flatten(weights: Weights) -> Tensor:
    """A batch of networks as a matrix (batch, parameters)."""
    return torch.cat([w.flatten(1) for w in weights.values()], 1)


def unflatten(flat: Tensor, like: Weights) -> Weights:
    """The inverse of `flatten`; `like` is one network, without a batch dimension."""
    found, start = {}, 0
    for name, w in like.items():
        found[name] = flat[:, start : start + w.numel()].reshape(-1, *w.shape)
        start += w.numel()
    return found


def dots(left: Tensor, right: Tensor) -> Tensor:
    """Inner product of each row with its partner, (batch, 1)."""
    return (left * right).sum(1, keepdim=True)


class GaussNewton:
    """Generalised Gauss-Newton matrix of the anchor's mean cross-entropy, J' (diag p - p p') J / N (Schraudolph 2002;
    Martens 2010).
    """

    def __init__(self, problem: Problem) -> None:
        network = problem.network
        self._weights = network.weights()
        self._inputs = problem.anchor.inputs
        self._network = network
        self._probabilities = torch.softmax(self._logits(self._weights), -1)
        self._share = problem.training().share(problem.anchor.targets).unsqueeze(-1) / len(problem.anchor)

    def product(self, directions: Tensor) -> Tensor:
        """`G v` for each row v."""
        logits, pull = vjp(self._logits, self._weights)[:2]
        # J' u is linear in u, and the transpose of that map is J: reverse mode twice, no forward mode needed.
        push = vjp(lambda cotangent: pull(cotangent)[0], torch.zeros_like(logits))[1]
        (pushed,) = vmap(push)(unflatten(directions, self._weights))
        weighted = self._probabilities * pushed
        centred = weighted - self._probabilities * weighted.sum(-1, keepdim=True)
        (found,) = vmap(pull)(centred * self._share)
        return flatten(found)

    def trace(self, stream: Stream, draws: int) -> Tensor:
        """Hutchinson's estimate of the trace with Rademacher directions, a scalar."""
        size = sum(w.numel() for w in self._weights.values())
        directions = stream.rademacher((draws, size))
        return dots(directions, self.product(directions)).mean()

    def largest(self, stream: Stream, iterations: int) -> Tensor:
        """Estimate of the largest eigenvalue by power iteration, from below, a scalar."""
        vector = stream.rademacher((1, sum(w.numel() for w in self._weights.values())))
        for _ in range(iterations):
            vector = self.product(vector)
            vector = vector / torch.sqrt(dots(vector, vector))
        return dots(vector, self.product(vector)).squeeze()

    def rank_bound(self, classes: int) -> int:
        """The matrix has at most this rank: parameters, or the anchor's targets times (classes - 1)."""
        return min(sum(w.numel() for w in self._weights.values()), int((self._share > 0).sum()) * (classes - 1))

    def damping(self, relative: float, stream: Stream) -> Tensor:
        """`relative` times the mean eigenvalue within the rank bound: a rule that sees the anchor only, and follows
        its scale.
        """
        return self.trace(stream, 8) * (relative / self.rank_bound(self._probabilities.shape[-1]))

    def _logits(self, weights: Weights) -> Tensor:
        return self._network.logits(weights, self._inputs)


def solve(curvature: GaussNewton, damping: Tensor, right: Tensor, iterations: int) -> Tensor:
    """`(G + damping I)^-1` times each row of `right`, by a fixed number of conjugate gradient steps (Hestenes &
    Stiefel 1952).

    The number of steps is part of the estimator: stopping on a residual would make a bit decide how long to run.
    A row whose residual has become zero stays where it is.
    """
    solution, residual = torch.zeros_like(right), right
    direction, energy = residual, dots(residual, residual)
    for _ in range(iterations):
        product = curvature.product(direction) + direction * damping
        curved = dots(direction, product)
        length = torch.where(curved > 0, energy / torch.where(curved > 0, curved, 1.0), 0.0)
        solution, residual = solution + direction * length, residual - product * length
        following = dots(residual, residual)
        direction = residual + direction * torch.where(
            energy > 0, following / torch.where(energy > 0, energy, 1.0), 0.0
        )
        energy = following
    return solution
