"""Small problems on scikit-learn's digits: 64 inputs in [0, 1], 10 classes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from validator.exact import exact
from validator.exact.random import Stream
from validator.influence import Problem, Records
from validator.influence.models import build, initialise
from validator.influence.problem import Network, cross_entropy_slope


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def digits() -> Records:
    """All 1,797 digits in an order of our own."""
    data = load_digits()
    order = torch.randperm(len(data.target), generator=torch.Generator().manual_seed(5))
    return Records(torch.tensor(data.data / 16, dtype=torch.float32), torch.tensor(data.target)).select(order)


def train(model: nn.Module, anchor: Records, steps: int) -> dict[str, Tensor]:
    """Weights after heavy-ball full-batch descent from the model's own."""
    with exact(), torch.no_grad():
        network = Network(model)
        weights = {name: w.unsqueeze(0) for name, w in network.weights().items()}
        velocity = {name: torch.zeros_like(w) for name, w in weights.items()}
        targets = anchor.targets.unsqueeze(0)
        for _ in range(steps):
            gradient = network.gradient(
                weights, anchor.inputs.unsqueeze(0), lambda z: cross_entropy_slope(z, targets) / len(anchor)
            )
            for name, slope in gradient.items():
                velocity[name] = velocity[name] * 0.9 + slope + weights[name] * 3e-3
                weights[name] = weights[name] - velocity[name] * 0.1
    return {name: w[0] for name, w in weights.items()}


def make_problem(anchor: Records, queries: Records, hidden: int = 32, steps: int = 80) -> Problem:
    """A trained MLP 64-hidden-10."""
    model = build("mlp", {"inputs": 64, "hidden": [hidden], "classes": 10, "activation": "relu"})
    initialise(model, Stream(b"theta", "initialise"))
    model.load_state_dict(train(model, anchor, steps))
    return Problem(model, anchor, queries)


@pytest.fixture(scope="session")
def problem(digits: Records) -> Problem:
    """MLP 64-32-10 trained on 80 records, judged by 120."""
    rows = torch.arange(200)
    return make_problem(digits.select(rows[:80]), digits.select(rows[80:]))
