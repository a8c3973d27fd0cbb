"""`response`: the counterfactual referee that pays. Train on anchor + contribution, and look at what the queries say.

From the problem's weights, every contribution gets a short training run of its own on anchor + contribution; a
baseline run trains on the anchor alone. The score is the baseline's objective on the queries less the
contribution's. All runs share the order of the anchor, and contributions of one size share the order of their rows
(common random numbers), so that the difference is the contribution, not the luck of a schedule. Several schedules
(replicas) are averaged; their spread is part of the standard error.

Each step takes `batch` anchor rows and `rows` rows of the contribution, weighted so that the expected loss is the
mean over all N + n records. The number of rows in a step does not depend on the contribution's size, so nothing is
padded, and all runs of a chunk are one batched computation in which no number depends on a neighbour: the chunk's
size changes speed and memory, never a bit.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass

import torch
from safetensors.torch import save
from torch import Tensor

from validator.exact import NonFinite, exact
from validator.exact.digest import digest
from validator.exact.random import Stream
from validator.influence.divergence import apart
from validator.influence.errors import InfluenceError
from validator.influence.groups import members
from validator.influence.problem import Problem, Weights, spread
from validator.influence.records import Records
from validator.influence.scores import Scores
from validator.influence.settings import Settings, limited, write_header

Progress = Callable[[int, int], None]
NAME = "response"


@dataclass(frozen=True, slots=True)
class ResponseSettings(Settings):
    """Training of the runs. `epochs` passes over the anchor by heavy-ball gradient descent (Polyak 1964), L2 decay in
    the gradient.

    Keep runs short: with long ones a contribution of noise turns into a regulariser, and regularisers lower the
    objective too.
    """

    epochs: int = limited("epochs", 10, 1, 10_000)
    batch: int = limited("batch", 32, 1, 2**16)
    rows: int = limited("rows", 8, 1, 2**16)
    learning_rate: float = limited("learning_rate", 0.1, 1e-9, 1e3)
    momentum: float = limited("momentum", 0.9, 0.0, 0.9999)
    weight_decay: float = limited("weight_decay", 3e-3, 0.0, 1.0)
    replicas: int = limited("replicas", 4, 1, 1_000)


@dataclass(frozen=True, slots=True, eq=False)
class Response:
    """A fitted referee: the baseline's objective on each query, `baseline` float32 (replicas, queries), and how to
    train against it.
    """

    problem: Problem
    settings: ResponseSettings
    seed: bytes
    per_query: bool
    baseline: Tensor

    def score(
        self, records: Records, groups: Tensor | None = None, chunk: int = 64, progress: Progress | None = None
    ) -> Scores:
        """One score a group, in ascending order of the group's id; without `groups`, one a record.

        `groups` is int64 (n,). The records of a group are trained on together, in the order of their positions.
        `chunk` groups are trained at once. A run that leaves the finite range counts as the worst objective on every
        query, and harms no other. Raises InfluenceError on an empty record set, ids of another shape, or records that
        do not fit the model.
        """
        parts = members(len(records), groups)
        self.problem.check(records)
        if chunk < 1:
            raise InfluenceError(f"chunk must be at least 1, not {chunk}")
        with exact(), torch.no_grad():
            runs = _Runs(self.problem, self.settings, self.seed)
            drops = []
            for start in range(0, len(parts), chunk):
                drops.append(self._drops(runs, records, parts[start : start + chunk]))
                if progress is not None:
                    progress(min(start + chunk, len(parts)), len(parts))
            return _summary(torch.cat(drops, 1), self.per_query)

    def _drops(self, runs: _Runs, records: Records, parts: list[Tensor]) -> Tensor:
        lost = torch.full((len(self.problem.queries),), self.problem.measure().worst)
        replicas = []
        for replica, baseline in enumerate(self.baseline):
            train = functools.partial(runs.train, replica, records)
            replicas.append(baseline - apart(parts, train, lost))
        return torch.stack(replicas)

    def to_bytes(self) -> bytes:
        """A safetensors file: the baseline and a header; the problem is named by its digest, not included."""
        return bytes(save(self._tensors()))

    def digest(self) -> bytes:
        """32 bytes over the tensors and the header."""
        return digest(self._tensors())

    def _tensors(self) -> dict[str, Tensor]:
        header = write_header(NAME, self.seed, self.problem.digest(), self.per_query, self.settings)
        return {"baseline": self.baseline, "header": header}


def fit_response(
    problem: Problem,
    settings: ResponseSettings,
    seed: bytes,
    per_query: bool,
    progress: Progress,
    parts: MutableMapping[str, bytes],
) -> Response:
    """Train the baselines, one a replica; finished ones are taken from and put into `parts`."""
    with exact(), torch.no_grad():
        runs = _Runs(problem, settings, seed)
        rows = []
        for replica in range(settings.replicas):
            key = f"replica-{replica}"
            if key not in parts:
                parts[key] = _baseline(runs, replica).numpy().tobytes()
            rows.append(_floats(parts[key], len(problem.queries)))
            progress(replica + 1, settings.replicas)
    return Response(problem, settings, seed, per_query, torch.stack(rows))


def _baseline(runs: _Runs, replica: int) -> Tensor:
    try:
        return runs.train(replica, None, [torch.empty(0, dtype=torch.int64)])[0]
    except NonFinite as error:
        raise InfluenceError(f"training on the anchor alone diverges, lower the learning rate: {error}") from error


class _Runs:
    """The training runs of one problem, settings and seed."""

    def __init__(self, problem: Problem, settings: ResponseSettings, seed: bytes) -> None:
        self._problem, self._settings, self._seed = problem, settings, seed
        self._network, self._loss = problem.network, problem.training()
        self._orders: dict[str, Tensor] = {}
        self._batch = min(settings.batch, len(problem.anchor))
        self._steps = math.ceil(settings.epochs * len(problem.anchor) / self._batch)

    def train(self, replica: int, records: Records | None, parts: Sequence[Tensor]) -> Tensor:
        """Objective on each query after training, float32 (len(parts), queries). No records: the baseline, trained on
        the anchor alone.
        """
        anchor = self._problem.anchor
        order = self._order(f"{replica}/anchor", len(anchor), self._batch)
        chosen = None if records is None else torch.stack([part[self._rows(replica, len(part))] for part in parts])
        scale = torch.stack([self._row_weights(len(part), records is not None) for part in parts])
        weights = {name: w.expand(len(parts), *w.shape).clone() for name, w in self._network.weights().items()}
        velocity = {name: torch.zeros_like(w) for name, w in weights.items()}
        for step in range(self._steps):
            inputs = anchor.inputs[order[step]].expand(len(parts), self._batch, *anchor.inputs.shape[1:])
            targets = anchor.targets[order[step]].expand(len(parts), self._batch, *anchor.targets.shape[1:])
            if records is not None and chosen is not None:
                inputs = torch.cat([inputs, records.inputs[chosen[:, step]]], 1)
                targets = torch.cat([targets, records.targets[chosen[:, step]]], 1)
            self._descend(weights, velocity, inputs, targets, scale)
        return self._objective(weights)

    def _descend(self, weights: Weights, velocity: Weights, inputs: Tensor, targets: Tensor, scale: Tensor) -> None:
        gradient = self._network.gradient(
            weights, inputs, lambda logits: self._loss.slope(logits, targets) * spread(scale, logits)
        )
        for name, slope in gradient.items():
            decayed = slope + weights[name] * self._settings.weight_decay
            velocity[name] = velocity[name] * self._settings.momentum + decayed
            weights[name] = weights[name] - velocity[name] * self._settings.learning_rate

    def _objective(self, weights: Weights) -> Tensor:
        queries = self._problem.queries
        logits = self._network.batched_logits(weights, queries.inputs.unsqueeze(0))
        return self._problem.measure().value(logits, queries.targets.expand(logits.shape[0], *queries.targets.shape))

    def _rows(self, replica: int, size: int) -> Tensor:
        return self._order(f"{replica}/rows/{size}", size, self._settings.rows)

    def _order(self, name: str, size: int, batch: int) -> Tensor:
        """Which of `size` records each step takes, int64 (steps, batch): one permutation after another, all records
        equally often.
        """
        if name not in self._orders:
            stream, count = Stream(self._seed, f"response/{name}"), self._steps * batch
            rounds = [stream.permutation(size) for _ in range(math.ceil(count / size))]
            self._orders[name] = torch.cat(rounds)[:count].reshape(self._steps, batch)
        return self._orders[name]

    def _row_weights(self, size: int, with_rows: bool) -> Tensor:
        """Weights of one step's rows: the sampled estimate of the mean over anchor and contribution."""
        anchor, total = len(self._problem.anchor), len(self._problem.anchor) + size
        weights = torch.full((self._batch,), anchor / (self._batch * total))
        if not with_rows:
            return weights
        return torch.cat([weights, torch.full((self._settings.rows,), size / (self._settings.rows * total))])


def _summary(drops: Tensor, per_query: bool) -> Scores:
    """From drops float32 (replicas, groups, queries) to the mean and its standard error.

    Two independent sources: queries are a sample (variance of the paired differences over queries / queries),
    schedules are a sample (variance of the mean over replicas / replicas).
    """
    exactly = drops.to(torch.float64)
    by_query = exactly.mean(0)
    if per_query:
        return Scores(by_query, torch.zeros_like(by_query))
    by_replica = exactly.mean(2)
    return Scores(by_query.mean(1), torch.sqrt(_variance_of_mean(by_query.T) + _variance_of_mean(by_replica)))


def _variance_of_mean(sample: Tensor) -> Tensor:
    """Unbiased variance of the mean over the first dimension; zero for a sample of one."""
    count = sample.shape[0]
    if count < 2:
        return torch.zeros_like(sample[0])
    centred = sample - sample.mean(0)
    return (centred * centred).sum(0) / (count * (count - 1))


def _floats(data: bytes, count: int) -> Tensor:
    if len(data) != 4 * count:
        raise InfluenceError(f"a stored part has {len(data)} bytes, not {4 * count}: discard it and fit again")
    return torch.frombuffer(bytearray(data), dtype=torch.float32).clone()
