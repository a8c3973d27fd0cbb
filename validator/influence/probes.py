"""A probe set: score records with forward passes only.

    influence(z) = sum_t w_t * loss(z; theta_t)

Probes are fitted once per problem and seed, then shared, cached and audited; untrusted records never meet a
backward pass. Each probe belongs to one column, a fold of the queries (see folds.py), or all columns share all probes,
with coefficients of their own: the value is the mean of the columns, weighted by their queries, and the spread of the
columns is the standard error.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from safetensors.torch import save
from torch import Tensor

from validator.exact import NonFinite, exact, frozen
from validator.exact.digest import digest
from validator.influence.batching import anchor_like, batch_size
from validator.influence.divergence import apart
from validator.influence.errors import InfluenceError
from validator.influence.groups import members
from validator.influence.problem import Problem, Weights
from validator.influence.records import Records
from validator.influence.scores import Scores
from validator.influence.settings import Settings, write_header
from validator.influence.traces import traces

_MOST_RECORDS = 1024
"""Records at a time, at most: more are not faster."""


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

    def score(self, records: Records, groups: Tensor | None = None, chunk: int | None = None) -> Scores:
        """One score a record, or one a group in ascending order of its id: the sum of its records' values.

        `chunk` records meet the probes at once, as many as the memory at hand allows by default; it changes no bit. A
        record on which a probe leaves the finite range counts for minus the worst objective. Per query, values are (n,
        queries). Raises InfluenceError on an empty record set, ids of another shape, or records that do not fit the
        model.
        """
        parts = members(len(records), groups)
        self.problem.check(records)
        if chunk is not None and chunk < 1:
            raise InfluenceError(f"chunk must be at least 1, not {chunk}")
        size = self.batch(len(records)) if chunk is None else chunk
        with exact(), torch.no_grad(), frozen(self.weights.values()):
            lost = torch.full((len(self.sizes),), -self.problem.measure().worst, dtype=torch.float64)
            rows = range(len(records))
            pieces = [rows[start : start + size] for start in range(0, len(records), size)]
            columns = torch.cat([apart(few, lambda some: self._influence(records, some), lost) for few in pieces])
            if groups is not None:
                columns = torch.stack([columns[part].sum(0) for part in parts])
            return self._summary(columns)

    def batch(self, count: int) -> int:
        """How many of `count` records to score at once here."""
        one = {name: w[:1] for name, w in self.weights.items()}

        def run(some: int) -> None:
            with exact(), torch.no_grad(), contextlib.suppress(NonFinite):
                traces(self.problem, one, anchor_like(self.problem, some), self.problem.training().value)

        # Losses of all probes are held as float64, twice while they are added up.
        probes = len(next(iter(self.weights.values())))
        return batch_size(run, min(count, _MOST_RECORDS), shared=2 * 8 * probes)

    def _influence(self, records: Records, rows: Sequence[int]) -> Tensor:
        """Influence on each column, float64 (n, columns): terms are added one after the other, so the order of
        addition is fixed.
        """
        few = records.select(torch.tensor(rows))
        losses = traces(self.problem, self.weights, few, self.problem.training().value)
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
