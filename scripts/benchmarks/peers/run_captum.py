"""captum 0.9.0: TracInCP with the last checkpoint, and the Arnoldi influence function at its defaults."""

from __future__ import annotations

from typing import Any

import torch
from captum.influence import TracInCP
from captum.influence._core.arnoldi_influence_function import ArnoldiInfluenceFunction
from influence_worker import Given, Score, main, network
from torch import nn
from torch.utils.data import TensorDataset


def load(given: Given) -> Any:  # noqa: ANN401 - captum's own kind of function
    """Captum names checkpoints by a path; ours is in memory."""

    def loaded(model: nn.Module, _: str) -> float:
        model.load_state_dict(given.state)
        return 1.0

    return loaded


def tracin(given: Given) -> Score:
    """TracInCP, batches of 200."""
    influence = TracInCP(
        network(given.state),
        TensorDataset(given.inputs, given.targets),
        checkpoints=["last"],
        checkpoints_load_func=load(given),
        loss_fn=nn.CrossEntropyLoss(reduction="sum"),
        batch_size=200,
        sample_wise_grads_per_batch=True,
    )
    return lambda: influence.influence((given.query_inputs, given.query_targets)).T


def arnoldi(given: Given) -> Score:
    """Arnoldi influence, projected on the leading eigenvectors of the Hessian."""
    influence = ArnoldiInfluenceFunction(
        network(given.state),
        TensorDataset(given.inputs, given.targets),
        checkpoint="last",
        checkpoints_load_func=load(given),
        loss_fn=nn.CrossEntropyLoss(reduction="sum"),
        batch_size=200,
        sample_wise_grads_per_batch=True,
        **given.params,
    )
    return lambda: torch.as_tensor(influence.influence((given.query_inputs, given.query_targets))).T


if __name__ == "__main__":
    main({"tracin": tracin, "arnoldi": arnoldi})
