"""Short training runs, many at once: the engine of `response`.

A run is gradient descent on the mean cross-entropy of a reference set and, if there is one,
a contribution. Each step takes `batch` rows of the reference and `rows` of the contribution, weighted so that the
expected loss is the mean over all records of both. The number of rows in a step does not depend on a contribution's
size, so nothing is padded, and runs are one batched computation in which no number depends on a neighbour.

Networks begin shrunk and perturbed (Ash & Adams 2020), then settle. A network that has been trained to the end sits
where further training gains nothing but what shakes it loose, and noise shakes best: from such a start, random pixels
look helpful. From an earlier start every run has that much to learn, and only the data make a difference. As a round
accepts, its networks are trained further and the old fault comes back; `refresh` shakes them again, before each place's
runs, of which the baseline's is one.

Runs come in replicas: as many schedules, each with networks of its own. All runs of a replica share the order of the
reference, and contributions of one size share the order of their rows (common random numbers), so that a difference
between two runs is the contribution, not the luck of a schedule.

A control run is the same run of the same records with every class called by another's name, another in each replica:
what it gains, no label has taught.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from validator.exact.random import Stream
from validator.influence.descent import Descent
from validator.influence.problem import Problem, Weights, spread
from validator.influence.records import NO_TARGET, Records, concat
from validator.influence.settings import Settings, limited

_QUERIES = 512
_REFERENCE = "reference"


@dataclass(frozen=True, slots=True)
class ResponseSettings(Settings):
    """`epochs` passes over the reference by heavy ball or, with `adam` 1, by Adam; at most `most_steps` steps, if that
    is not 0. With `cool` 1 the rate falls over a run from `learning_rate` to zero; with 0 it stays. Before all runs,
    `keep` times each weight matrix plus normal noise of `perturb` times its root mean square is trained on the
    reference alone, `settle` times. Before the runs from a place, its networks go `refresh` of the way (0 to 1) back
    to such a start, with noise of their own: what is kept of a matrix is 1 - refresh * (1 - keep), and the noise
    refresh * perturb.

    The reference grows by what is accepted, and a run with it until `most_steps` bounds it: from then on a round takes
    time in proportion to its contributions, without a bound by the square of what it accepts. A bounded run takes a
    random part of the reference.

    In order, what has a value above zero is also run as its own control, unless `control` is 0: the control's gain, its
    mean over the replicas and `control` standard deviations of them, is taken off the value if it is above zero.

    Nothing kept is right where the anchor is what the model learnt from; with an anchor that is a small part of it, or
    a model too large to train anew, keep 1 and perturb 0, and `refresh` shakes nothing. Without a control keep runs to
    10 epochs, or refresh: with long runs from networks that have settled a contribution of noise turns into a
    regulariser, and regularisers lower the objective too. What is refreshed must have the steps to learn its data again
    (docs/scoring.md).
    """

    epochs: int = limited("epochs", 20, 1, 10_000)
    batch: int = limited("batch", 32, 1, 2**16)
    rows: int = limited("rows", 8, 1, 2**16)
    adam: int = limited("adam", 0, 0, 1)
    learning_rate: float = limited("learning_rate", 0.1, 1e-9, 1e3)
    momentum: float = limited("momentum", 0.9, 0.0, 0.9999)
    weight_decay: float = limited("weight_decay", 3e-3, 0.0, 1.0)
    replicas: int = limited("replicas", 8, 1, 1_000)
    keep: float = limited("keep", 0.0, 0.0, 1.0)
    perturb: float = limited("perturb", 1.5, 0.0, 10.0)
    settle: int = limited("settle", 3, 0, 100)
    most_steps: int = limited("most_steps", 256, 0, 2**24, later=True)
    refresh: float = limited("refresh", 0.0, 0.0, 1.0, later=True)
    cool: int = limited("cool", 0, 0, 1, later=True)
    control: float = limited("control", 1.0, 0.0, 10.0)


class Training:
    """Runs of one problem, settings and seed. Networks have two leading dimensions, (replicas, runs, ...)."""

    def __init__(self, problem: Problem, settings: ResponseSettings, seed: bytes) -> None:
        self.problem, self.settings, self._seed = problem, settings, seed
        self._network, self._loss = problem.network, problem.training()
        self._orders: dict[tuple[str, int, int], Tensor] = {}
        self._records = 0

    def begin(self) -> Weights:
        """The problem's weights, matrices shrunk and perturbed in each replica: (replicas, 1, ...)."""
        settings, own = self.settings, self._network.weights()
        weights = {name: w.expand(settings.replicas, 1, *w.shape) for name, w in own.items()}
        return self._shaken(weights, "begin", settings.keep, settings.perturb)

    def refreshed(self, weights: Weights, records: int) -> Weights:
        """Networks (replicas, 1, ...) that have been trained on so many `records`, shaken for the next runs."""
        share, settings = self.settings.refresh, self.settings
        keep, perturb = 1 - share * (1 - settings.keep), share * settings.perturb
        return weights if (keep, perturb) == (1, 0) else self._shaken(weights, f"refresh/{records}", keep, perturb)

    def _shaken(self, weights: Weights, draw: str, keep: float, perturb: float) -> Weights:
        """`keep` times each matrix, and noise of `perturb` times the root mean square of the problem's own matrix."""
        found = dict(weights)
        for position, (name, own) in enumerate(self._network.weights().items()):
            if own.dim() < 2:  # biases, and the scales of norms, which no network works without
                continue
            scale = torch.sqrt((own * own).mean()) * perturb
            streams = [
                Stream(self._seed, f"response/{replica}/{draw}/{position}") for replica in range(self.settings.replicas)
            ]
            noise = torch.stack([stream.normal(tuple(own.shape)) for stream in streams]).unsqueeze(1)
            found[name] = weights[name] * keep + noise.to(own.device) * scale
        return found

    def run(
        self,
        start: Weights,
        reference: Records,
        parts: Sequence[Records] = (),
        replicas: range | None = None,
        most: int | None = None,
        control: bool = False,
    ) -> Weights:
        """Train from `start` (replicas, 1, ...) on the reference and each of `parts`, to (replicas, len(parts), ...);
        without parts on the reference alone, to (replicas, 1, ...). `replicas`: which of all schedules these are, by
        default all. `most` ends a run after so many steps: a trial. `control`: the parts' classes are renamed.
        """
        which = range(self.settings.replicas) if replicas is None else replicas
        runs, batch = max(1, len(parts)), min(self.settings.batch, len(reference))
        steps = self._steps_over(len(reference), batch)
        common = self._orders_of(_REFERENCE, len(reference), (steps, batch), which)
        own = self._rows_of(parts, steps, which)
        pool = concat(parts) if parts else None
        scale = self._scale(len(reference), batch, [len(part) for part in parts], which)
        turns = self._turns(which).repeat_interleave(runs) if control else None
        weights = {name: w.expand(-1, runs, *w.shape[2:]).flatten(0, 1) for name, w in start.items()}
        settings = self.settings
        descent = Descent(
            weights, settings.learning_rate, settings.momentum, settings.weight_decay, adam=bool(settings.adam)
        )
        for step in range(steps if most is None else min(most, steps)):
            rows = _taken(reference, common[:, step].unsqueeze(1).expand(-1, runs, -1))
            if pool is not None:
                added = _taken(pool, own[:, :, step])
                if turns is not None:
                    added = added[0], renamed(added[1], turns, self.problem.classes)
                rows = (torch.cat([rows[0], added[0]], 1), torch.cat([rows[1], added[1]], 1))
            heat = cooled(step, steps) if settings.cool else 1.0
            weights = descent.step(weights, self._gradient(weights, *rows, scale), heat)
        return {name: _by_run(w, runs) for name, w in weights.items()}

    def objective(self, weights: Weights) -> Tensor:
        """Objective of each network (replicas, runs, ...) on each query, float32 (replicas, runs, queries)."""
        queries, measure = self.problem.queries, self.problem.measure()
        flat = {name: w.flatten(0, 1) for name, w in weights.items()}
        runs = next(iter(weights.values())).shape[1]
        found = []
        for start in range(0, len(queries), _QUERIES):
            inputs, targets = (whole[start : start + _QUERIES] for whole in (queries.inputs, queries.targets))
            logits = self._network.batched_logits(flat, inputs.unsqueeze(0))
            found.append(measure.value(logits, targets.expand(logits.shape[0], *targets.shape)))
        return _by_run(torch.cat(found, 1), runs)

    def _steps_over(self, records: int, batch: int) -> int:
        """Steps of a run; schedules for another reference are forgotten, for it only grows."""
        if records != self._records:
            self._orders.clear()
            self._records = records
        steps = math.ceil(self.settings.epochs * records / batch)
        return min(steps, self.settings.most_steps or steps)

    def _gradient(self, weights: Weights, inputs: Tensor, targets: Tensor, scale: Tensor) -> Weights:
        return self._network.gradient(
            weights, inputs, lambda logits: self._loss.slope(logits, targets) * spread(scale, logits)
        )

    def _rows_of(self, parts: Sequence[Records], steps: int, replicas: range) -> Tensor:
        """Positions in the pool of all parts that each step takes, int64 (replicas, parts, steps, rows)."""
        orders, first = [], 0
        for part in parts:
            orders.append(self._orders_of("rows", len(part), (steps, self.settings.rows), replicas) + first)
            first += len(part)
        return torch.stack(orders, 1) if orders else torch.empty(0, dtype=torch.int64)

    def _orders_of(self, name: str, size: int, shape: tuple[int, int], replicas: range) -> Tensor:
        """Which of `size` records each step takes, int64 (replicas, *shape): in each replica one permutation after
        another, all records equally often; of a reference of which a bounded run cannot take all, a random sample.
        """
        return torch.stack([self._order_of(name, size, shape, replica) for replica in replicas])

    def _order_of(self, name: str, size: int, shape: tuple[int, int], replica: int) -> Tensor:
        key, count = (name, size, replica), math.prod(shape)
        if key not in self._orders:
            stream = Stream(self._seed, f"response/{replica}/{name}/{size}")
            if name == _REFERENCE and count < size:  # it may be of any size: nothing may take time by that
                order = stream.sample(size, count)
            else:
                turns = [stream.permutation(size) for _ in range(math.ceil(count / size))]
                order = torch.cat(turns)[:count]
            self._orders[key] = order.reshape(shape)
        return self._orders[key]

    def _turns(self, replicas: range) -> Tensor:
        """By how much a control renames classes in each replica, int64 (replicas,) in 1 .. classes - 1: all different
        while there are enough.
        """
        others = max(1, self.problem.classes - 1)
        turns = Stream(self._seed, "response/control").sample(others, min(others, self.settings.replicas)) + 1
        return turns[torch.arange(replicas.start, replicas.stop) % len(turns)]

    def _scale(self, reference: int, batch: int, parts: Sequence[int], replicas: range) -> Tensor:
        """Weights of one step's rows, float32 (replicas * runs, rows): the sampled estimate of the mean over reference
        and contribution.
        """
        rows = self.settings.rows
        scales = [
            [reference / (batch * (reference + size))] * batch + [size / (rows * (reference + size))] * rows
            for size in parts
        ]
        return torch.tensor(scales or [[1 / batch] * batch]).repeat(len(replicas), 1)


def cooled(step: int, steps: int) -> float:
    """What share of the rate a step of a run has: from 1 down to nearly 0, about as a half cosine does. Four correctly
    rounded operations: cos() is not the same on every machine.
    """
    done = step / steps
    return 1 - done * done * (3 - 2 * done)


def renamed(targets: Tensor, turns: Tensor, classes: int) -> Tensor:
    """Targets int64 (networks, ...), all classes of a network moved on by its one of `turns` (networks,), around."""
    moved = (targets + spread(turns.to(targets.device), targets)) % classes
    return torch.where(targets == NO_TARGET, targets, moved)


def _taken(records: Records, index: Tensor) -> tuple[Tensor, Tensor]:
    """Inputs and targets at `index` (replicas, runs, rows), the first two dimensions made one."""
    return records.inputs[index].flatten(0, 1), records.targets[index].flatten(0, 1)


def _by_run(flat: Tensor, runs: int) -> Tensor:
    """(replicas * runs, ...) as (replicas, runs, ...)."""
    return flat.view(-1, runs, *flat.shape[1:])
