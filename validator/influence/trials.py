"""The runs of `response` as tasks of an engine: shards are some replicas of some contributions.

A run in one replica meets neither another run nor another replica, so a shard may hold any of them. A contribution is
lost when its training leaves the finite range in any replica.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from validator.exact import NonFinite, exact
from validator.influence.batching import anchor_like, batch_size, budget
from validator.influence.divergence import apart
from validator.influence.engine import Engine, cut
from validator.influence.problem import Problem, Weights
from validator.influence.records import Records
from validator.influence.training import ResponseSettings, Training

_MOST_PARTS = 64
"""Contributions trained at once, at most: more are not faster."""
_NEXT_STATES = 4
"""Copies of the weights that a run holds besides its start and its work: momentum, squares, slope and result."""


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Where runs begin: networks (replicas, 1, ...), the reference, the baseline's objective (replicas, queries)."""

    start: Weights
    reference: Records
    baseline: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Shard:
    """Some contributions in some replicas, `batch` contributions at a time; or their controls, whose networks nobody
    needs.
    """

    replicas: range
    parts: tuple[Records, ...]
    batch: int
    control: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Tried:
    """Objective float32 (parts, replicas, queries) after each run, and the trained networks (replicas, 1, ...) of each;
    None, and an objective of NaN, where training left the finite range.
    """

    objective: Tensor
    ends: tuple[Weights | None, ...]


class Trials:
    """Trains and judges contributions over an engine. Not to be used inside exact(): tasks enter it themselves, and
    what counts bytes must stand outside.
    """

    def __init__(self, problem: Problem, settings: ResponseSettings, seed: bytes, engine: Engine) -> None:
        self.runs = Training(problem, settings, seed)
        self._replicas, self._engine = settings.replicas, engine

    def settled(self, start: Weights, reference: Records) -> Weights:
        """Trained on the reference alone, (replicas, 1, ...). Raises NonFinite."""
        return _joined(self._engine.map(train, (self.runs, start, reference), self._slices()))

    def baseline(self, start: Weights, reference: Records) -> Tensor:
        """The objective of `settled`, float32 (replicas, queries). Raises NonFinite."""
        return torch.cat(self._engine.map(train_and_ask, (self.runs, start, reference), self._slices()))

    def arrive(self, start: Weights, reference: Records) -> Place:
        """The place of networks (replicas, 1, ...) that were trained on `reference`, with its baseline. Raises
        NonFinite.
        """
        start = self.refreshed(start, reference)
        return Place(start, reference, self.baseline(start, reference))

    def refreshed(self, trained: Weights, reference: Records) -> Weights:
        """Where runs begin from networks (replicas, 1, ...) that were trained on `reference`."""
        with exact(), torch.no_grad():
            return self.runs.refreshed(trained, len(reference))

    def room(self, place: Place, most: int) -> int:
        """How many contributions one worker should train at once in all replicas, by its own memory."""
        shared = (self.runs, place.start, place.reference)
        return self._engine.map(fitting, shared, [(range(self._replicas), min(most, _MOST_PARTS))])[0]

    def tried(
        self, place: Place, parts: Sequence[Records], batch: int, done: Callable[[int], None] | None = None
    ) -> tuple[list[Tensor | None], list[Weights | None]]:
        """For each of `parts`: objective float32 (replicas, queries), networks (replicas, 1, ...); None where lost.
        `done` counts parts.
        """
        return self._spread(place, parts, batch, done)

    def controls(self, place: Place, parts: Sequence[Records], batch: int) -> list[Tensor | None]:
        """Objective float32 (replicas, queries) of the control of each of `parts`; None where lost."""
        return self._spread(place, parts, batch, control=True)[0]

    def _spread(
        self,
        place: Place,
        parts: Sequence[Records],
        batch: int,
        done: Callable[[int], None] | None = None,
        control: bool = False,
    ) -> tuple[list[Tensor | None], list[Weights | None]]:
        """Few parts are cut by replicas as well, so that all workers have something to do."""
        width = self._engine.width
        pieces = cut(len(parts), width, longest=batch)
        slices = cut(self._replicas, -(-width // max(1, len(pieces))))
        shards = [
            Shard(replicas, tuple(parts[piece.start : piece.stop]), batch * self._replicas // len(replicas), control)
            for piece in pieces
            for replicas in slices
        ]
        finished = 0

        def tell(position: int, found: Tried) -> None:
            nonlocal finished
            finished += len(shards[position].parts) * len(shards[position].replicas)
            if done is not None:
                done(finished // self._replicas)

        found = self._engine.map(try_parts, (self.runs, place.start, place.reference), shards, tell)
        objectives: list[Tensor | None] = []
        ends: list[Weights | None] = []
        for index in range(0, len(found), len(slices)):
            whole = _whole(found[index : index + len(slices)])
            objectives += whole[0]
            ends += whole[1]
        return objectives, ends

    def _slices(self) -> list[range]:
        return cut(self._replicas, self._engine.width)


def train(runs: Training, start: Weights, reference: Records, replicas: range) -> Weights:
    """Task: some replicas trained on the reference alone."""
    with exact(), torch.no_grad():
        return runs.run(_some(start, replicas), reference, replicas=replicas)


def train_and_ask(runs: Training, start: Weights, reference: Records, replicas: range) -> Tensor:
    """Task: the objective float32 (some replicas, queries) after training on the reference alone."""
    with exact(), torch.no_grad():
        return runs.objective(runs.run(_some(start, replicas), reference, replicas=replicas)).squeeze(1)


def try_parts(runs: Training, start: Weights, reference: Records, shard: Shard) -> Tried:
    """Task: each of the shard's contributions trained on top of the reference."""
    ends: list[Weights | None] = [None] * len(shard.parts)
    begin = _some(start, shard.replicas)

    def tried(positions: Sequence[int]) -> Tensor:
        some = [shard.parts[position] for position in positions]
        trained = runs.run(begin, reference, some, shard.replicas, control=shard.control)
        found = runs.objective(trained).transpose(0, 1)
        for column, position in enumerate(positions):
            ends[position] = (
                {} if shard.control else {name: w[:, column : column + 1].clone() for name, w in trained.items()}
            )
        return found

    with exact(), torch.no_grad():
        lost = torch.full((len(shard.replicas), len(runs.problem.queries)), torch.nan)
        batches = [range(len(shard.parts))[at : at + shard.batch] for at in range(0, len(shard.parts), shard.batch)]
        return Tried(torch.cat([apart(batch, tried, lost) for batch in batches]), tuple(ends))


def fitting(runs: Training, start: Weights, reference: Records, asked: tuple[range, int]) -> int:
    """Task: how many contributions, up to a number, can be trained at once here in the memory at hand."""
    replicas, most = asked
    begin = _some(start, replicas)
    part = anchor_like(runs.problem, runs.settings.rows)

    def run(count: int) -> None:
        with exact(), torch.no_grad(), contextlib.suppress(NonFinite):
            runs.objective(runs.run(begin, reference, [part] * count, replicas, most=1))

    weights = list(begin.values())
    size = sum(w.numel() * w.element_size() for w in weights)
    return batch_size(run, most, limit=budget(weights[0].device), shared=_NEXT_STATES * size)


def _some(weights: Weights, replicas: range) -> Weights:
    return {name: w[replicas.start : replicas.stop] for name, w in weights.items()}


def _joined(parts: Sequence[Weights]) -> Weights:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _whole(found: Sequence[Tried]) -> tuple[list[Tensor | None], list[Weights | None]]:
    """What shards of the same contributions found in different replicas, put together."""
    objectives: list[Tensor | None] = []
    ends: list[Weights | None] = []
    for part in range(len(found[0].ends)):
        networks = [one.ends[part] for one in found]
        kept = [network for network in networks if network is not None]
        complete = len(kept) == len(found)
        objectives.append(torch.cat([one.objective[part] for one in found]) if complete else None)
        ends.append(_joined(kept) if complete else None)
    return objectives, ends
