"""The demonstration's DAO: a digit classifier that is short of two digits, and the rules that it pays by.

The rules were chosen by a sweep over random splits and crowds: garbage never came within its own uncertainty of being
paid, and nine of ten honest contributions were (`docs/scoring.md`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from validator.actions.found import DEFAULT_PARAMETERS, TOKEN
from validator.demo.crowd import Labelled, Split
from validator.exact import exact
from validator.exact.random import Stream
from validator.influence.models import build, dump_weights, initialise
from validator.payload import encode_safetensors

MODEL: dict[str, int | str | list[int]] = {"inputs": 64, "hidden": [64], "classes": 10, "activation": "relu"}
TRAINING_STEPS, RATE, MOMENTUM, DECAY = 300, 0.1, 0.9, 3e-3
MAX_ENVELOPE = 64 * 1024
STAKE = 10_000 * TOKEN

PARAMETERS = replace(
    DEFAULT_PARAMETERS,
    open_seconds=3600,
    report_seconds=300,
    commit_seconds=600,
    attest_seconds=600,
    exit_seconds=3 * 1500,
)
"""Phases end as soon as every validator has acted, so the deadlines only matter when one does not."""

MANIFEST = """\
name = "digits"

[model]
family = "mlp"
config = { inputs = 64, hidden = [64], classes = 10, activation = "relu" }

[estimator]
name = "response"

[estimator.params]
epochs = 10  # half of the default: all validators of the demonstration share one machine
batch = 32
rows = 8
replicas = 8
keep = "0"
perturb = "1.5"
settle = 3
learning_rate = "0.1"
momentum = "0.9"
weight_decay = "0.003"

[payload]
format = "safetensors"
dtype = "float32"
shape = [64]
minimum = "0"
maximum = "1"
classes = 10

[limits]
envelope_bytes = 65536
min_records = 8
max_records = 128

[scoring]
objective = "expected_error"
kappa_milli = 1000
floor = 0
contribution_cap = 1000000000
memory_records = 4096

[rewards]
full_pool_score = 40000000
contributor_cap_bps = 5000
"""


def write_folder(folder: Path, parts: Split, seed: int, progress: Callable[[int, int], None]) -> None:
    """What `validator dao publish` takes: manifest.toml, weights, anchor and queries."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.toml").write_text(MANIFEST)
    (folder / "weights.safetensors").write_bytes(train(parts.anchor, seed, progress))
    for name, records in (("anchor", parts.anchor), ("queries", parts.queries)):
        (folder / f"{name}.safetensors").write_bytes(encode_safetensors(records.inputs, records.targets))


def train(records: Labelled, seed: int, progress: Callable[[int, int], None]) -> bytes:
    """Weights after full-batch gradient descent with momentum, under exact arithmetic: the same model anywhere."""
    model = build("mlp", MODEL)
    initialise(model, Stream(seed.to_bytes(8, "big"), "demo/model"))
    inputs, targets = torch.from_numpy(records.inputs), torch.from_numpy(records.targets)
    parameters = list(model.parameters())
    velocity = [torch.zeros_like(parameter) for parameter in parameters]
    with exact():
        for step in range(TRAINING_STEPS):
            loss = nn.functional.cross_entropy(model(inputs), targets)
            gradients = torch.autograd.grad(loss, parameters)
            with torch.no_grad():
                for parameter, gradient, moving in zip(parameters, gradients, velocity, strict=True):
                    moving.mul_(MOMENTUM).add_(gradient).add_(parameter * DECAY)
                    parameter.sub_(moving * RATE)
            progress(step + 1, TRAINING_STEPS)
    return dump_weights(model)
