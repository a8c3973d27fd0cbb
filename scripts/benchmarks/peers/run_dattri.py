"""dattri 0.3.0: influence by conjugate gradients, LiSSA, TRAK, TracIn's last checkpoint.

Influence gets one batch of all records: its inverse-Hessian products are summed over the batches of the loader.
"""

from __future__ import annotations

from typing import Any

import torch
from dattri.algorithm.influence_function import IFAttributorCG, IFAttributorLiSSA
from dattri.algorithm.tracin import TracInAttributor
from dattri.algorithm.trak import TRAKAttributor
from dattri.task import AttributionTask
from influence_worker import Given, Score, main, network
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset


def parts(given: Given) -> tuple[AttributionTask, DataLoader[Any], DataLoader[Any]]:
    """The task, all records as one batch, queries in batches of `queries_at_once`: all, unless told otherwise."""
    module = network(given.state)

    def loss(params: dict[str, Tensor], data: tuple[Tensor, Tensor]) -> Tensor:
        inputs, targets = data[0].reshape(-1, given.inputs.shape[1]), data[1].reshape(-1).long()
        return torch.nn.functional.cross_entropy(torch.func.functional_call(module, params, inputs), targets)

    records = TensorDataset(given.inputs, given.targets)
    queries = TensorDataset(given.query_inputs, given.query_targets)
    return (
        AttributionTask(loss, module, dict(given.state)),
        DataLoader(records, batch_size=len(records), shuffle=False),
        DataLoader(queries, batch_size=given.params.get("queries_at_once", len(queries)), shuffle=False),
    )


def influence(kind: Any) -> Any:  # noqa: ANN401 - one of dattri's classes
    """An attributor of influence: fitted when its training set is cached."""

    def method(given: Given) -> Score:
        task, records, queries = parts(given)
        attributor = kind(task=task, **{key: value for key, value in given.params.items() if key != "queries_at_once"})
        attributor.cache(records)
        return lambda: attributor.attribute(records, queries)

    return method


def trak(given: Given) -> Score:
    """TRAK of one model: the margin `log p / (1 - p)` is what is attributed, so its sign is turned."""
    module = network(given.state)
    params = dict(given.params)

    def split(data: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return data[0].reshape(-1, given.inputs.shape[1]), data[1].reshape(-1).long()

    def logp(weights: dict[str, Tensor], data: tuple[Tensor, Tensor]) -> Tensor:
        inputs, targets = split(data)
        return -torch.nn.functional.cross_entropy(torch.func.functional_call(module, weights, inputs), targets)

    def margin(weights: dict[str, Tensor], data: tuple[Tensor, Tensor]) -> Tensor:
        found = logp(weights, data)
        return found - torch.log1p(-torch.exp(found).clamp(max=1 - 1e-7))

    def correct(weights: dict[str, Tensor], data: tuple[Tensor, Tensor]) -> Tensor:
        inputs, targets = split(data)
        logits = torch.func.functional_call(module, weights, inputs)
        return torch.softmax(logits, 1).gather(1, targets.unsqueeze(1)).squeeze(1)

    task = AttributionTask(margin, module, dict(given.state))
    _, records, queries = parts(given)
    attributor = TRAKAttributor(task=task, correct_probability_func=correct, device="cpu", projector_kwargs=params)
    attributor.cache(records)
    # A drop of the loss is a rise of the margin.
    return lambda: attributor.attribute(queries)


def tracin(given: Given) -> Score:
    """TracIn with the last checkpoint alone: gradient products, or their cosines."""
    task, records, queries = parts(given)
    attributor = TracInAttributor(
        task=task, weight_list=torch.ones(1), normalized_grad=bool(given.params.get("cosine", False)), device="cpu"
    )
    return lambda: attributor.attribute(records, queries)


if __name__ == "__main__":
    main({"cg": influence(IFAttributorCG), "lissa": influence(IFAttributorLiSSA), "trak": trak, "tracin": tracin})
