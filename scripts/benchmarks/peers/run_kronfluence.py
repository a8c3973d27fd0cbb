"""kronfluence 1.0.1: EK-FAC and its simpler strategies, with the heuristic damping of its documentation (0.1 x mean
eigenvalue) unless told otherwise.
"""

from __future__ import annotations

import tempfile
from typing import Any

import torch
from influence_worker import Given, Score, main, network
from kronfluence.analyzer import Analyzer, prepare_model
from kronfluence.arguments import FactorArguments, ScoreArguments
from kronfluence.task import Task
from torch import Tensor, nn
from torch.utils.data import TensorDataset

Batch = tuple[Tensor, Tensor]


class Classification(Task):
    """Cross-entropy, with labels drawn from the model for the Fisher matrix."""

    def compute_train_loss(self, batch: Batch, model: nn.Module, sample: bool = False) -> Tensor:
        """Sum of the batch's losses."""
        logits, targets = model(batch[0]), batch[1]
        if sample:
            with torch.no_grad():
                targets = torch.multinomial(torch.softmax(logits.detach(), 1), 1).flatten()
        return nn.functional.cross_entropy(logits, targets, reduction="sum")

    def compute_measurement(self, batch: Batch, model: nn.Module) -> Tensor:
        """The queries' loss."""
        return self.compute_train_loss(batch, model)


def strategy(given: Given) -> Score:
    """Fit the factors of `strategy`; `damping` None is the heuristic."""
    task = Classification()
    model = prepare_model(network(given.state), task)
    folder = tempfile.TemporaryDirectory()
    analyzer = Analyzer("bench", model, task, cpu=True, output_dir=folder.name, disable_tqdm=True)
    records = TensorDataset(given.inputs, given.targets)
    queries = TensorDataset(given.query_inputs, given.query_targets)
    factors = FactorArguments(strategy=given.params.get("strategy", "ekfac"))
    whole: dict[str, Any] = {"factors_name": "factors"}
    analyzer.fit_all_factors(dataset=records, per_device_batch_size=len(records), factor_args=factors, **whole)

    def score() -> Tensor:
        analyzer.compute_pairwise_scores(
            scores_name="scores",
            query_dataset=queries,
            train_dataset=records,
            per_device_query_batch_size=len(queries),
            per_device_train_batch_size=len(records),
            score_args=ScoreArguments(damping_factor=given.params.get("damping")),
            **whole,
        )
        found = analyzer.load_pairwise_scores("scores")["all_modules"].T
        folder.cleanup()
        return found

    return score


if __name__ == "__main__":
    main({"strategy": strategy})
