"""Contributions instead of records: does a score rank them as retraining does, and who would be paid?

A base of records is short of some digits; contributors bring clean, narrow, half or wholly mislabelled, random and
copied records. The truth is the drop of expected error on held-out queries when a contribution is added to the base
and the network is trained anew, paired over initial weights. Cached in `.bench/` like the tasks.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from influence_metrics import ceiling, spearman
from influence_tasks import CACHE, SEED, Task, digits, mnist, starts, train
from torch import Tensor

from validator.exact.random import Stream
from validator.influence import InfluenceError, Problem, Records, fit
from validator.influence.models import build
from validator.influence.problem import Network, expected_error

KINDS = ("clean",) * 18 + ("narrow",) * 6 + ("half mislabelled",) * 6 + ("mislabelled",) * 8
KINDS += ("noise",) * 5 + ("duplicate",) * 5
HONEST, GARBAGE = ("clean", "narrow"), ("mislabelled", "noise", "duplicate")
SIZE, BASE, QUERIES, SHORT, FEW = 16, 160, 400, 2, 4
KAPPA = 1.0

Crowd = dict[str, Any]
"""`base`, `base_targets`, `inputs` and `targets` of all contributions in order (SIZE each), `queries`,
`query_targets`, `state`, `gains` float64 (seeds, contributions), `config`, `recipe`.
"""


@dataclass(frozen=True, slots=True)
class Judged:
    """An estimator on a crowd: Spearman's correlation with the gains, shares of the pool by kind, seconds."""

    crowd: str
    estimator: str
    spearman: float = 0.0
    of_ceiling: float = 0.0
    garbage: float = 0.0
    half: float = 0.0
    honest: float = 0.0
    seconds: float = 0.0
    refused: str = ""


CROWDS = (
    Task("crowd-digits", {"inputs": 64, "hidden": [64], "classes": 10, "activation": "relu"}, 3e-3, 1, 8, steps=400),
    Task("crowd-mnist", {"inputs": 196, "hidden": [64], "classes": 10, "activation": "relu"}, 3e-3, 1, 8, steps=400),
)

ESTIMATORS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("response", {}),
    ("classical", {}),
    ("ekfac", {}),
    ("mirrored", {}),
    ("bayesian", {}),
)


def crowd(task: Task) -> Crowd:
    """The crowd of this name with its truth, from the cache or made now."""
    path = CACHE / "truth" / f"{task.name}.pt"
    recipe = f"{task.recipe()}; {KINDS}, {SIZE}, {BASE}, {QUERIES}, {SHORT}, {FEW}"
    if path.exists():
        found: Crowd = torch.load(path, weights_only=True)
        if found["recipe"] == recipe:
            return found
    made = _truth(task, _gathered(task)) | {"recipe": recipe}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(made, path)
    return made


def judge(task: Task, found: Crowd, estimator: str, params: dict[str, Any]) -> Judged:
    """Score the crowd by the default objective, expected error, and compare."""
    module = build("mlp", found["config"])
    module.load_state_dict(found["state"])
    anchor, queries = Records(found["base"], found["base_targets"]), Records(found["queries"], found["query_targets"])
    groups = torch.arange(len(KINDS)).repeat_interleave(SIZE)
    words, begun = " ".join([estimator, json.dumps(params)] if params else [estimator]), time.perf_counter()
    try:
        fitted = fit(Problem(module, anchor, queries), estimator, seed=SEED, **params)
        scores = fitted.score(Records(found["inputs"], found["targets"]), groups=groups)
    except InfluenceError as error:
        return Judged(task.name, words, refused=str(error))
    gains = found["gains"]
    rank = spearman(scores.values.unsqueeze(1), gains.mean(0).unsqueeze(1)).item()
    most = ceiling(gains.unsqueeze(2)).per_query
    paid = shares(scores.values, scores.stderr)
    return Judged(
        task.name,
        words,
        rank,
        rank / most,
        sum(paid[kind] for kind in GARBAGE),
        paid["half mislabelled"],
        sum(paid[kind] for kind in HONEST),
        time.perf_counter() - begun,
    )


def shares(values: Tensor, stderr: Tensor, kinds: Sequence[str] = KINDS) -> dict[str, float]:
    """Share of the pool that goes to each kind when `max(0, value - KAPPA stderr)` is paid; all 0 when nothing is."""
    pay = (values - KAPPA * stderr).clamp(min=0)
    total = float(pay.sum()) or 1.0
    return {
        kind: float(sum(p for p, k in zip(pay.tolist(), kinds, strict=True) if k == kind)) / total
        for kind in sorted(set(kinds))
    }


def _gathered(task: Task) -> Crowd:
    """Base, queries and contributions: all disjoint records, but for the copies."""
    inputs, targets = digits() if task.config["inputs"] == 64 else _halved(*mnist())
    order = Stream(SEED, f"{task.name}/split").permutation(len(targets))
    asked, rest = order[:QUERIES], order[QUERIES:]
    # The base holds FEW records of the first SHORT classes, so that some contributions are worth more than others.
    rare = targets[rest] < SHORT
    base = torch.cat([rest[~rare][: BASE - SHORT * FEW], rest[rare][: SHORT * FEW]])
    pool = torch.cat([rest[~rare][BASE - SHORT * FEW :], rest[rare][SHORT * FEW :]])
    pool = pool[Stream(SEED, f"{task.name}/pool").permutation(len(pool))]
    parts, free = [], list(pool.tolist())
    for i, kind in enumerate(KINDS):
        stream = Stream(SEED, f"{task.name}/contribution/{i}")
        parts.append(_contribution(kind, stream, inputs, targets, base, free))
    brought, labels = (torch.cat(side) for side in zip(*parts, strict=True))
    return {
        "base": inputs[base],
        "base_targets": targets[base],
        "inputs": brought,
        "targets": labels,
        "queries": inputs[asked],
        "query_targets": targets[asked],
        "config": task.config,
    }


def _contribution(
    kind: str, stream: Stream, inputs: Tensor, targets: Tensor, base: Tensor, free: list[int]
) -> tuple[Tensor, Tensor]:
    """SIZE records of a kind; those that are taken from the pool leave it."""
    if kind == "noise":
        return stream.uniform((SIZE, inputs.shape[1])).to(torch.float32), stream.integers(10, (SIZE,))
    if kind == "duplicate":
        copied = base[stream.permutation(len(base))[:SIZE]]
        return inputs[copied], targets[copied]
    wanted = int(stream.integers(10, (1,))) if kind == "narrow" else None
    taken = [i for i in free if wanted is None or int(targets[i]) == wanted][:SIZE]
    gone = set(taken)
    free[:] = [i for i in free if i not in gone]
    rows = torch.tensor(taken)
    wrong = {"half mislabelled": SIZE // 2, "mislabelled": SIZE}.get(kind, 0)
    shift = stream.integers(9, (SIZE,)) + 1
    return inputs[rows], torch.where(torch.arange(SIZE) < wrong, (targets[rows] + shift) % 10, targets[rows])


def _truth(task: Task, found: Crowd) -> Crowd:
    """Train the network on the base, and anew with each contribution from each seed's initial weights."""
    network = Network(build("mlp", task.config))
    inputs = torch.cat([found["base"], found["inputs"]])
    targets = torch.cat([found["base_targets"], found["targets"]])
    base = torch.arange(len(found["base"]))
    own = len(base) + torch.arange(len(KINDS) * SIZE).reshape(len(KINDS), SIZE)
    rows = torch.cat([base.expand(len(KINDS), -1), own], 1)
    gains = []
    for seed in range(task.seeds):
        first = starts(task, f"seed-{seed}", 1)
        everyone = {name: w.expand(len(KINDS), *w.shape[1:]).clone() for name, w in first.items()}
        alone = train(network, first, inputs, targets, base.unsqueeze(0), task.decay, task.steps)
        joined = train(network, everyone, inputs, targets, rows, task.decay, task.steps)
        gains.append(_error(network, alone, found) - _error(network, joined, found))
    explained = train(network, starts(task, "theta", 1), inputs, targets, base.unsqueeze(0), task.decay, 4 * task.steps)
    return found | {"gains": torch.stack(gains), "state": {name: w[0].clone() for name, w in explained.items()}}


def _error(network: Network, weights: dict[str, Tensor], found: Crowd) -> Tensor:
    """Mean expected error of each network on the queries, float64."""
    logits = network.batched_logits(weights, found["queries"].unsqueeze(0)).to(torch.float64)
    return expected_error(logits, found["query_targets"].expand(logits.shape[0], -1)).mean(1)


def _halved(images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """MNIST at half its width: means of 2 x 2 pixels, (n, 196)."""
    square = torch.nn.functional.avg_pool2d(images.reshape(-1, 1, 28, 28), 2)
    return square.flatten(1), targets
