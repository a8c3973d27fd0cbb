"""How the runs of `response` descend: heavy ball (Polyak 1964), or Adam (Kingma & Ba 2015) for what does not train
without, such as transformers. Every step is a fixed sequence of correctly rounded operations.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from validator.influence.problem import Weights

SECOND, SMALLEST = 0.999, 1e-8
"""Adam's decay of squared slopes, and what keeps its divisor from zero; the momentum is its decay of slopes."""


class Descent:
    """Momentum of a batch of networks. L2 decay is part of the gradient."""

    def __init__(self, weights: Weights, rate: float, momentum: float, decay: float, *, adam: bool) -> None:
        self._rate, self._momentum, self._decay, self._adam = rate, momentum, decay, adam
        self._first = {name: torch.zeros_like(w) for name, w in weights.items()}
        self._second = {name: torch.zeros_like(w) for name, w in weights.items()} if adam else {}
        # Powers of the decays, multiplied up: pow() is not the same on every machine.
        self._power, self._second_power = 1.0, 1.0

    def step(self, weights: Weights, gradient: Mapping[str, Tensor], heat: float = 1.0) -> Weights:
        """The weights after one step at `heat` times the rate."""
        rate = self._rate * heat
        self._power, self._second_power = self._power * self._momentum, self._second_power * SECOND
        move = self._adam_move if self._adam else self._ball_move
        return {name: w - move(name, gradient[name] + w * self._decay) * rate for name, w in weights.items()}

    def _ball_move(self, name: str, slope: Tensor) -> Tensor:
        self._first[name] = self._first[name] * self._momentum + slope
        return self._first[name]

    def _adam_move(self, name: str, slope: Tensor) -> Tensor:
        self._first[name] = self._first[name] * self._momentum + slope * (1 - self._momentum)
        self._second[name] = self._second[name] * SECOND + slope * slope * (1 - SECOND)
        spread = torch.sqrt(self._second[name] / (1 - self._second_power)) + SMALLEST
        return self._first[name] / (1 - self._power) / spread
