"""Exact arithmetic against plain float32, side by side: linear forward, a training step, a batch of networks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from measure import Row, arguments, compare, report
from torch import Tensor, nn

from validator.exact import exact
from validator.exact.digest import digest
from validator.exact.random import Stream
from validator.influence.models import build, initialise
from validator.influence.problem import Network, cross_entropy_slope

BATCH, REPLICAS, ROWS = 256, 16, 32

Work = Callable[[], list[Tensor]]


def linear(size: int) -> Work:
    """Forward of one layer, size x size, on BATCH rows."""
    stream = Stream(b"bench", f"linear/{size}")
    layer = nn.Linear(size, size)
    initialise(layer, stream)
    inputs = stream.normal((BATCH, size))

    def forward() -> list[Tensor]:
        with torch.no_grad():
            return [layer(inputs)]

    return forward


def training_step() -> Work:
    """Forward, backward and gradients of an MLP 64-256-10 on BATCH records."""
    stream = Stream(b"bench", "training")
    model = build("mlp", {"inputs": 64, "hidden": [256], "classes": 10, "activation": "relu"})
    initialise(model, stream)
    inputs, targets = stream.normal((BATCH, 64)), stream.integers(10, (BATCH,))
    parameters = list(model.parameters())

    def step() -> list[Tensor]:
        return list(torch.autograd.grad(nn.functional.cross_entropy(model(inputs), targets), parameters))

    return step


def network_step() -> Work:
    """Gradients of REPLICAS networks at once, each on ROWS records of its own: the inner step of the demo's scoring."""
    stream = Stream(b"bench", "networks")
    model = build("mlp", {"inputs": 64, "hidden": [64], "classes": 10, "activation": "relu"})
    initialise(model, stream)
    network = Network(model)
    weights = {name: tensor.expand(REPLICAS, *tensor.shape).clone() for name, tensor in network.weights().items()}
    inputs, targets = stream.normal((REPLICAS, ROWS, 64)), stream.integers(10, (REPLICAS, ROWS))

    def step() -> list[Tensor]:
        return list(network.gradient(weights, inputs, lambda z: cross_entropy_slope(z, targets) / ROWS).values())

    return step


def exactly(work: Work) -> Work:
    """The same under exact arithmetic."""

    def run() -> list[Tensor]:
        with exact():
            return work()

    return run


def main() -> None:
    """Measure and print."""
    given = arguments(__doc__ or "")
    rows = []
    for name, work in {
        f"linear forward 512, batch {BATCH}": linear(512),
        f"linear forward 1024, batch {BATCH}": linear(1024),
        f"MLP 64-256-10 gradients, batch {BATCH}": training_step(),
        f"{REPLICAS} MLPs 64-64-10 at once, {ROWS} records each": network_step(),
    }.items():
        twin = exactly(work)
        taken = compare({"float32": work, "exact": twin}, given.repeats)
        ratio = taken["exact"].median / taken["float32"].median
        rows.append(Row(f"{name}, plain float32", taken["float32"]))
        rows.append(Row(f"{name}, exact", taken["exact"], f"{ratio:.1f} x; digest {digest(twin()).hex()[:16]}"))
    report("Exact arithmetic", rows, given.json)


if __name__ == "__main__":
    main()
