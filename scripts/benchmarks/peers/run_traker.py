"""traker 0.3.2: TRAK of one model, and of several that this file trains on random halves first (its `fit`)."""

from __future__ import annotations

import tempfile

import torch
from influence_worker import Given, Score, State, main, network
from torch import Tensor
from trak import TRAKer
from trak.projectors import BasicProjector, ProjectionType


def trained(given: Given, models: int) -> list[State]:
    """Networks trained on halves of the records from new weights: what the paper's ensemble is made of."""
    found = []
    for i in range(models):
        torch.manual_seed(i)
        half = torch.randperm(len(given.targets))[: len(given.targets) // 2]
        model = network(given.state)
        for layer in model:
            if isinstance(layer, torch.nn.Linear):
                layer.reset_parameters()
        optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
        for _ in range(300):
            optimiser.zero_grad()
            decay = sum((w**2).sum() for w in model.parameters()) * (given.decay / 2)
            loss = torch.nn.functional.cross_entropy(model(given.inputs[half]), given.targets[half]) + decay
            loss.backward()
            optimiser.step()
        found.append({name: w.detach().clone() for name, w in model.state_dict().items()})
    return found


def trak(given: Given) -> Score:
    """`models` 1 is the network that is explained; `dimensions` of the projection."""
    models, dimensions = int(given.params.get("models", 1)), int(given.params.get("dimensions", 512))
    states = [given.state] if models == 1 else trained(given, models)
    folder = tempfile.TemporaryDirectory()
    module = network(given.state)
    projector = BasicProjector(
        grad_dim=sum(w.numel() for w in module.parameters()),
        proj_dim=dimensions,
        seed=0,
        proj_type=ProjectionType.rademacher,
        device="cpu",
        dtype=torch.float32,
    )
    records, queries = len(given.targets), len(given.query_targets)
    traker = TRAKer(
        model=module,
        task="image_classification",
        train_set_size=records,
        save_dir=folder.name,
        device="cpu",
        projector=projector,
        proj_dim=dimensions,
        use_half_precision=False,
    )
    for i, state in enumerate(states):
        traker.load_checkpoint(state, model_id=i)
        for rows in torch.arange(records).split(250):
            traker.featurize(batch=[given.inputs[rows], given.targets[rows]], num_samples=len(rows))
    traker.finalize_features()

    def score() -> Tensor:
        for i, state in enumerate(states):
            traker.start_scoring_checkpoint("bench", state, model_id=i, num_targets=queries)
            traker.score(batch=[given.query_inputs, given.query_targets], num_samples=queries)
        found = torch.as_tensor(traker.finalize_scores("bench")).clone().float()
        folder.cleanup()
        return found

    return score


if __name__ == "__main__":
    main({"trak": trak})
