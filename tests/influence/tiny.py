"""A problem so small that its whole curvature can be written down, and influence by doing so."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import functional_call, jacrev

from validator.exact.random import Stream
from validator.influence import Problem, Records
from validator.influence.models import build, initialise


def tiny_problem() -> Problem:
    """MLP 6-5-3 with GELU, 53 parameters, on three noisy clusters; 40 anchor records, 30 queries."""
    generator = torch.Generator().manual_seed(2)
    targets = torch.arange(70) % 3
    centres = torch.randn(3, 6, generator=generator)
    inputs = centres[targets] + torch.randn(70, 6, generator=generator)
    model = build("mlp", {"inputs": 6, "hidden": [5], "classes": 3, "activation": "gelu"})
    initialise(model, Stream(b"tiny", "initialise"))
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=1e-2)
    for _ in range(100):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(model(inputs[:40]), targets[:40]).backward()
        optimiser.step()
    return Problem(model, Records(inputs[:40], targets[:40]), Records(inputs[40:], targets[40:]))


def new_records() -> Records:
    """25 records that the tiny problem has never seen."""
    generator = torch.Generator().manual_seed(3)
    return Records(torch.randn(25, 6, generator=generator), torch.randint(0, 3, (25,), generator=generator))


def dense(problem: Problem, records: Records, damping: float) -> Tensor:
    """Influence (records, queries), slow and clear: the whole Gauss-Newton matrix in float64, and a direct solve."""
    weights = {name: p.detach().double() for name, p in problem.model.named_parameters()}

    def logits(theta: dict[str, Tensor], inputs: Tensor) -> Tensor:
        found: Tensor = functional_call(problem.model, theta, (inputs.double(),))
        return found

    def jacobian(inputs: Tensor) -> Tensor:
        parts = jacrev(logits)(weights, inputs)
        return torch.cat([part.flatten(2) for part in parts.values()], 2)

    def slopes(data: Records) -> tuple[Tensor, Tensor]:
        p = logits(weights, data.inputs).softmax(-1)
        return p, p - torch.nn.functional.one_hot(data.targets, p.shape[1])

    anchor, p = jacobian(problem.anchor.inputs), slopes(problem.anchor)[0]
    hessian = torch.diag_embed(p) - p.unsqueeze(2) * p.unsqueeze(1)
    curvature = torch.einsum("ncp,ncd,ndq->pq", anchor, hessian, anchor) / len(problem.anchor)
    losses = torch.einsum("ncp,nc->np", jacobian(records.inputs), slopes(records)[1])
    p, residual = slopes(problem.queries)
    correct = p.gather(1, problem.queries.targets.unsqueeze(1))
    objective = torch.einsum("ncp,nc->np", jacobian(problem.queries.inputs), correct * residual)
    damped = curvature + damping * torch.eye(curvature.shape[0], dtype=torch.float64)
    return losses @ torch.linalg.solve(damped, objective.T) / len(problem.anchor)
