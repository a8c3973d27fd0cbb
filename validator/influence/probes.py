"""A probe set: score records with forward passes only.

    influence(z) = sum_t w_t * loss(z; theta_t)

Probes are fitted once per problem and seed, then shared, cached and audited; untrusted records never meet a
backward pass. Each probe belongs to one column, a fold of the queries (see folds.py), or all columns share all probes,
with coefficients of their own: the value is the mean of the columns, weighted by their queries, and the spread of the
columns is the standard error.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from safetensors.torch import save
from torch import Tensor

from validator.exact import NonFinite, exact, frozen
from validator.exact.digest import digest
from validator.influence.batching import anchor_like, batch_size, budget
from validator.influence.divergence import apart
from validator.influence.engine import IN_PROCESS, Engine, cut
from validator.influence.errors import InfluenceError
from validator.influence.groups import members
from validator.influence.problem import Problem, Weights
from validator.influence.records import Records
from validator.influence.scores import Scores
from validator.influence.settings import Settings, write_header
from validator.influence.traces import traces

Progress = Callable[[int, int], None]

_MOST_RECORDS = 1024
"""Records at a time, at most: more are not faster."""
_SHARD_RECORDS = 1024
"""Records of a shard, at most."""
_WAVE = 4
"""Shards a worker has to do before the next are made: what they find is put together and let go."""


@dataclass(frozen=True, slots=True, eq=False)
class Probes:
    """Weights by name (T, ...) float32; `coefficients` (T,) float64; `columns` (T,) int64; `sizes` int64 (columns,):
    queries of each. Probes that all columns share have `coefficients` (columns, T) and `columns` their numbers.
    """

    problem: Problem
    estimator: str
    settings: Settings
    seed: bytes
    per_query: bool
    weights: Weights
    coefficients: Tensor
    columns: Tensor
    sizes: Tensor

    def score(
        self,
        records: Records,
        groups: Tensor | None = None,
        chunk: int | None = None,
        progress: Progress | None = None,
        engine: Engine = IN_PROCESS,
    ) -> Scores:
        """One score a record, or one a group in ascending order of its id: the sum of its records' values.

        `chunk` records meet the probes at once, as many as the memory at hand allows by default; shards are some probes
        of some records. None of this changes a bit. A record on which a probe leaves the finite range counts for minus
        the worst objective. Per query, values are (n, queries). Raises InfluenceError on an empty record set, ids of
        another shape, or records that do not fit the model.
        """
        parts = members(len(records), groups)
        self.problem.check(records)
        if chunk is not None and chunk < 1:
            raise InfluenceError(f"chunk must be at least 1, not {chunk}")
        shards = cut(len(records), engine.width, longest=_SHARD_RECORDS)
        columns, waves = [], cut(len(shards), 1, longest=_WAVE * engine.width)
        for wave in waves:
            # All losses of a wave are here at once: one a record and probe.
            losses = self._losses(records, [shards[index] for index in wave], chunk, engine)
            with exact(), torch.no_grad():
                columns.append(self._columns(losses))
            if progress is not None:
                progress(shards[wave.stop - 1].stop, len(records))
        with exact(), torch.no_grad():
            whole = torch.cat(columns)
            if groups is not None:
                whole = torch.stack([whole[part].sum(0) for part in parts])
            return self._summary(whole)

    def _losses(self, records: Records, pieces: list[range], chunk: int | None, engine: Engine) -> Tensor:
        """Loss of each of some records at each probe, float64 (n, T); rows with NaN where a probe left the finite
        range.
        """
        ranges = cut(self.coefficients.shape[-1], -(-engine.width // len(pieces)))
        chosen = [records.between(piece.start, piece.stop) for piece in pieces]
        shards = [_Some(few, some, chunk) for some in chosen for few in ranges]
        found = engine.map(shard_losses, (self.problem, self.weights), shards)
        starts = range(0, len(found), len(ranges))
        return torch.cat([torch.cat(found[start : start + len(ranges)], 1) for start in starts])

    def _columns(self, losses: Tensor) -> Tensor:
        """Influence of each record on each column, float64 (n, columns)."""
        lost = torch.full((len(self.sizes),), -self.problem.measure().worst, dtype=torch.float64)
        columns = lost.repeat(len(losses), 1)
        kept = torch.where(~losses.isnan().any(1))[0]
        if len(kept):
            columns[kept] = apart(kept.tolist(), lambda rows: self._influence(losses[list(rows)].T), lost)
        return columns

    def _influence(self, losses: Tensor) -> Tensor:
        """From losses (T, n) to (n, columns): terms are added one after the other, so the order of addition is
        fixed.
        """
        if self.coefficients.dim() == 2:
            return losses.T @ self.coefficients.T
        sums: list[Tensor | None] = [None] * len(self.sizes)
        for column, term in zip(self.columns.tolist(), losses * self.coefficients.unsqueeze(1), strict=True):
            total = sums[column]
            sums[column] = term if total is None else total + term
        return torch.stack([torch.zeros_like(losses[0]) if total is None else total for total in sums], 1)

    def _summary(self, columns: Tensor) -> Scores:
        if self.per_query:
            return Scores(columns, torch.zeros_like(columns))
        share = self.sizes.to(torch.float64) / self.sizes.sum().to(torch.float64)
        value = (columns * share).sum(1)
        count = len(self.sizes)
        if count < 2:
            return Scores(value, torch.zeros_like(value))
        away = columns - value.unsqueeze(1)
        return Scores(value, torch.sqrt((away * away).sum(1) / (count * (count - 1))))

    def to_bytes(self) -> bytes:
        """A safetensors file: probes, coefficients and a header; the problem is named by its digest, not included."""
        return bytes(save(self._tensors()))

    def digest(self) -> bytes:
        """32 bytes over the tensors and the header."""
        return digest(self._tensors())

    def _tensors(self) -> dict[str, Tensor]:
        header = write_header(self.estimator, self.seed, self.problem.digest(), self.per_query, self.settings)
        probes = {f"probe/{name}": tensor.contiguous() for name, tensor in self.weights.items()}
        return probes | {
            "coefficients": self.coefficients,
            "columns": self.columns,
            "sizes": self.sizes,
            "header": header,
        }


@dataclass(frozen=True, slots=True, eq=False)
class _Some:
    """Some probes and some records, `chunk` records at a time; None: as many as the memory allows."""

    probes: range
    records: Records
    chunk: int | None


def shard_losses(problem: Problem, weights: Weights, some: _Some) -> Tensor:
    """Task: the loss of some records at some probes, float64 (n, T); rows of NaN where one leaves the finite range."""
    mine = {name: w[some.probes.start : some.probes.stop] for name, w in weights.items()}
    size = batch_of(problem, mine, len(some.records)) if some.chunk is None else some.chunk
    with exact(), torch.no_grad(), frozen(mine.values()):
        lost = torch.full((len(some.probes),), torch.nan, dtype=torch.float64)
        value, rows = problem.training().value, range(len(some.records))

        def losses(few: Sequence[int]) -> Tensor:
            return traces(problem, mine, some.records.between(few[0], few[-1] + 1), value).T

        pieces = [rows[start : start + size] for start in range(0, len(rows), size)]
        return torch.cat([apart(few, losses, lost) for few in pieces])


def batch_of(problem: Problem, weights: Weights, count: int) -> int:
    """How many of `count` records to meet a set of probes at once here. To be called outside exact()."""
    one = {name: w[:1] for name, w in weights.items()}

    def run(some: int) -> None:
        with exact(), torch.no_grad(), contextlib.suppress(NonFinite):
            traces(problem, one, anchor_like(problem, some), problem.training().value)

    first = next(iter(weights.values()))
    # Losses of all probes are held as float64, twice while they are put together.
    return batch_size(run, min(count, _MOST_RECORDS), limit=budget(first.device), shared=2 * 8 * len(first))
