"""devinterp 2.0.1: the Bayesian influence function by SGLD.

It samples language models only: a record is a sequence of its own row number, and the loss looks the row up.
"""

from __future__ import annotations

import numpy as np
import torch
from datasets import Dataset
from devinterp.slt.bif import compute_bif
from devinterp.slt.sampling import sample
from influence_worker import Given, Score, main, network
from torch import Tensor, nn


def bif(given: Given) -> Score:
    """Params go to `sample`; `covariance` instead of correlation; the draws are the fit."""
    params = dict(given.params)
    covariance = bool(params.pop("covariance", False))
    if params.pop("decay", False):
        params["llc_weight_decay"] = params["n_beta"] * given.decay
    records, queries = len(given.targets), len(given.query_targets)
    inputs, targets = (
        torch.cat([given.inputs, given.query_inputs]),
        torch.cat([given.targets, given.query_targets]),
    )

    def loss(model: nn.Module, rows: Tensor) -> Tensor:
        picked = rows[:, 0]
        return nn.functional.cross_entropy(model(inputs[picked]), targets[picked], reduction="none").unsqueeze(1)

    def rows(first: int, count: int, length: int) -> Dataset:
        listed = [[first + i % count] * 2 for i in range(length)]
        return Dataset.from_dict({"input_ids": listed}).with_format("torch")

    batch = int(params.get("batch_size", 32))
    # Only whole batches are read out: the last one is filled up with rows that were there before.
    batches = {"records": -(-records // batch), "queries": -(-queries // batch)}
    first = {"records": (0, records), "queries": (records, queries)}
    seen = {name: (rows(*first[name], count * batch), count) for name, count in batches.items()}
    draws = sample(network(given.state), rows(0, records, records), seen, loss_fn=loss, device="cpu", **params)

    def score() -> Tensor:
        whole = compute_bif(draws, correlation_method="sequence", compute_covariance=covariance, device="cpu")
        order = np.asarray(whole["input_ids"].values)[:, 0]
        place = torch.empty(records + queries, dtype=torch.int64)
        place[torch.from_numpy(order.astype(np.int64))] = torch.arange(len(order))
        influences = torch.from_numpy(np.asarray(whole["influences"].values))
        return influences[place[:records]][:, place[records:]]

    return score


if __name__ == "__main__":
    main({"bif": bif})
