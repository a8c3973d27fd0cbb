"""Draws of the weights as probes: what the `bayesian` estimator finds, and what it can tell besides scores."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from validator.exact import exact, frozen
from validator.influence.diagnostics import Diagnostics, drift, effective_draws, rhat
from validator.influence.errors import InfluenceError
from validator.influence.probes import Probes
from validator.influence.records import Records
from validator.influence.traces import traces


@dataclass(frozen=True, slots=True, eq=False)
class Posterior(Probes):
    """Probes whose weights are draws, chain after chain; `coefficients` float64 (columns, draws).

    `trace` float64 (2, chains, draws): mean loss of the anchor, mean objective. `rules` float64 (4,): n_beta, damping,
    the anchor's mean loss at theta, and its expected rise.
    """

    trace: Tensor
    rules: Tensor

    def diagnostics(self) -> Diagnostics:
        """Did the chains converge, and where are they?"""
        with exact(), torch.no_grad():
            n_beta, damping, base, expected = self.rules.tolist()
            return Diagnostics(
                rhat=max(float(rhat(trace)) for trace in self.trace),
                ess=min(float(effective_draws(trace)) for trace in self.trace),
                drift=max(float(drift(trace)) for trace in self.trace),
                rise=float(self.trace[0].mean() - base),
                expected_rise=expected,
                n_beta=n_beta,
                damping=damping,
            )

    def correlation(self, records: Records) -> Tensor:
        """Influence without size: correlation over the pairs of draws of the odd parts of each record's loss and of
        each column's objective, float64 (n, columns), in -1 .. 1.
        """
        self.problem.check(records)
        with exact(), torch.no_grad(), frozen(self.weights.values()):
            losses = traces(self.problem, self.weights, records, self.problem.training().value)
            odd, pull = self._odd(losses), self._odd(self.coefficients.T)
            scale = torch.sqrt((odd * odd).sum(0).unsqueeze(1) * (pull * pull).sum(0))
            return (odd.T @ pull) / torch.where(scale > 0, scale, 1.0)

    def by_position(self, records: Records) -> Tensor:
        """Influence of each position of sequences, float64 (n, positions, columns): over the positions they sum to
        the record's. Raises InfluenceError for records that are no sequences.
        """
        self.problem.check(records)
        if records.targets.dim() != 2:
            raise InfluenceError("records of one target have no positions")
        loss = self.problem.training()
        with exact(), torch.no_grad(), frozen(self.weights.values()):
            found = traces(self.problem, self.weights, records, lambda z, at: loss.at_target(z, at) * loss.share(at))
            summed = found.flatten(1).T @ self.coefficients.T
            return summed.reshape(*records.targets.shape, -1)

    def _odd(self, values: Tensor) -> Tensor:
        """Half the difference over antithetic draws: (draws, n) to (pairs, n)."""
        both = values.reshape(-1, 2, self.trace.shape[2], values.shape[1])
        return ((both[:, 0] - both[:, 1]) / 2).flatten(0, 1)

    def _tensors(self) -> dict[str, Tensor]:
        return Probes._tensors(self) | {"trace": self.trace, "rules": self.rules}
