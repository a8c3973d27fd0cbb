"""Curvature of the training loss at the problem's weights: Gauss-Newton products, a damping rule, conjugate gradients.

Directions are flat: float32 (batch, parameters), parameters in the order of the model's names.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import vjp, vmap

from validator.exact import NonFinite, exact
from validator.exact.random import Stream
from validator.influence.batching import batch_size
from validator.influence.problem import Problem, Weights
from validator.influence.records import NO_TARGET, Records

ROWS = 512
"""Default of the settings' `rows`: anchor records that a pass takes at once."""


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


def row_blocks(records: Records, rows: int) -> list[Records]:
    """The records in order, `rows` at a time: a large anchor must not need all its activations at once.

    Each block's part of a sum is rounded to float32 before the parts are added, so other cuts are other bits. `rows` is
    therefore a parameter of the estimator, written into the probe file, and never follows from the memory at hand; what
    follows the memory is how many directions meet a block (batching.py), for they do not meet each other.
    """
    return [
        Records(records.inputs[start : start + rows], records.targets[start : start + rows])
        for start in range(0, len(records), rows)
    ]


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Some of the anchor: `inputs` (n, ...), the model's `probabilities` (n, ..., classes), and the `share` (n, ..., 1)
    of each target in the mean loss.
    """

    inputs: Tensor
    probabilities: Tensor
    share: Tensor

    def divergence_slope(self, logits: Tensor) -> Tensor:
        """Gradient of this part's share of the mean KL divergence from `probabilities`, in `logits` (batch, n, ...)."""
        return (torch.softmax(logits, -1) - self.probabilities) * self.share


class GaussNewton:
    """Generalised Gauss-Newton matrix of the anchor's mean cross-entropy, J' (diag p - p p') J / N (Schraudolph 2002;
    Martens 2010).
    """

    def __init__(self, problem: Problem, rows: int = ROWS) -> None:
        self._network, self._weights = problem.network, problem.network.weights()
        self._classes, self._targets = problem.classes, int((problem.anchor.targets != NO_TARGET).sum())
        self.parts = [self._part(problem, few) for few in row_blocks(problem.anchor, rows)]

    def product(self, directions: Tensor) -> Tensor:
        """`G v` for each row v."""
        total = torch.zeros_like(directions, dtype=torch.float64)
        for part in self.parts:
            total.add_(self._product(directions, part))
        return total.to(torch.float32)

    def _part(self, problem: Problem, few: Records) -> Part:
        share = problem.training().share(few.targets).unsqueeze(-1) / len(problem.anchor)
        return Part(few.inputs, torch.softmax(self._network.logits(self._weights, few.inputs), -1), share)

    def _product(self, directions: Tensor, part: Part) -> Tensor:
        logits, pull = vjp(lambda weights: self._network.logits(weights, part.inputs), self._weights)[:2]
        # J' u is linear in u, and the transpose of that map is J: reverse mode twice, no forward mode needed.
        push = vjp(lambda cotangent: pull(cotangent)[0], torch.zeros_like(logits))[1]
        (pushed,) = vmap(push)(unflatten(directions, self._weights))
        weighted = part.probabilities * pushed
        centred = weighted - part.probabilities * weighted.sum(-1, keepdim=True)
        (found,) = vmap(pull)(centred * part.share)
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

    def damping(self, relative: float, stream: Stream) -> Tensor:
        """`relative` times the mean eigenvalue within the rank bound: parameters, or targets times (classes - 1)."""
        bound = min(sum(w.numel() for w in self._weights.values()), self._targets * (self._classes - 1))
        return self.trace(stream, 8) * (relative / bound)

    def ridge(self, relative: float, stream: Stream) -> Tensor:
        """`relative` times the trace over the root of the number of targets: a rule that sees the anchor only.

        It follows the scale of the curvature, and falls with n^-1/2 like the ridge that balances bias and variance when
        nothing is known about the spectrum (Caponnetto & De Vito 2007). A fixed share of the mean eigenvalue falls with
        1/n, and would have to be three times as large for 1,000 records of digits as for 120.
        """
        return self.trace(stream, 8) * relative / torch.sqrt(torch.tensor(float(self._targets)))


def directions_at_once(problem: Problem, rows: int, most: int) -> int:
    """How many directions, up to `most`, a product with `rows` of the anchor can take in the memory at hand. To be
    asked outside exact(). No direction meets another: the answer changes no bit.
    """
    part, size = row_blocks(problem.anchor, rows)[0], sum(w.numel() for w in problem.network.weights().values())
    few = Problem(problem.network.module(), part, problem.queries, problem.objective)

    def run(count: int) -> None:
        with exact(), torch.no_grad(), contextlib.suppress(NonFinite):
            GaussNewton(few, rows).product(torch.ones(count, size))

    return batch_size(run, most)


Condition = Callable[[Tensor], Tensor]
"""An approximate inverse, linear, symmetric and positive, row by row."""


def solve(
    curvature: GaussNewton, damping: Tensor, right: Tensor, iterations: int, condition: Condition = lambda right: right
) -> Tensor:
    """`(G + damping I)^-1` times each row of `right`, by a fixed number of preconditioned conjugate gradient steps
    (Hestenes & Stiefel 1952; Golub & Van Loan 11.5) from `condition(right)`.

    The number of steps is part of the estimator: stopping on a residual would make a bit decide how long to run. A row
    whose residual has become zero stays where it is. Without steps, `condition` is the answer.
    """
    solution = condition(right)
    if not iterations:
        return solution
    residual = right - curvature.product(solution) - solution * damping
    ready = condition(residual)
    direction, energy = ready, dots(residual, ready)
    for _ in range(iterations):
        product = curvature.product(direction) + direction * damping
        length = _ratio(energy, dots(direction, product))
        solution, residual = solution + direction * length, residual - product * length
        ready = condition(residual)
        following = dots(residual, ready)
        direction, energy = ready + direction * _ratio(following, energy), following
    return solution


def _ratio(above: Tensor, below: Tensor) -> Tensor:
    """above / below, and 0 where `below` is not positive."""
    return torch.where(below > 0, above / torch.where(below > 0, below, 1.0), 0.0)
