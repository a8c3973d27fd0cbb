"""Classical influence against the whole Gauss-Newton matrix, slow and clear, in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.func import functional_call, jacrev

from validator.exact import exact
from validator.exact.random import Stream
from validator.influence import Problem, Records, fit
from validator.influence.classical import ClassicalSettings
from validator.influence.curvature import GaussNewton
from validator.influence.models import build, initialise
from validator.influence.probes import Probes


def smooth_problem(objective: str) -> Problem:
    """MLP 8-6-4 with GELU, 82 parameters, after 200 steps on 60 records of four noisy clusters; 20 queries."""
    stream = Stream(b"classical", "records")
    targets = torch.arange(80) % 4
    inputs = stream.normal((4, 8))[targets] + stream.normal((80, 8))
    model = build("mlp", {"inputs": 8, "hidden": [6], "classes": 4, "activation": "gelu"})
    initialise(model, Stream(b"classical", "model"))
    optimiser = torch.optim.SGD(model.parameters(), lr=0.2, weight_decay=1e-2)
    for _ in range(200):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(model(inputs[:60]), targets[:60]).backward()
        optimiser.step()
    return Problem(model, Records(inputs[:60], targets[:60]), Records(inputs[60:], targets[60:]), objective)


@pytest.fixture(scope="module")
def smooth() -> Problem:
    return smooth_problem("cross_entropy")


@pytest.fixture(scope="module")
def newcomers() -> Records:
    stream = Stream(b"classical", "newcomers")
    return Records(stream.normal((30, 8)), stream.integers(4, (30,)))


def jacobian(problem: Problem, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities (n, classes) and the Jacobian of the logits (n, classes, parameters), float64."""
    weights = {name: w.double() for name, w in problem.network.weights().items()}

    def logits(theta: dict[str, Tensor]) -> Tensor:
        found: Tensor = functional_call(problem.network.module(), theta, (inputs.double(),))
        return found

    parts = jacrev(logits)(weights)
    return logits(weights).softmax(-1), torch.cat([part.flatten(2) for part in parts.values()], 2)


def loss_gradients(problem: Problem, records: Records, objective: str = "cross_entropy") -> Tensor:
    """Gradient of each record's loss or objective, (n, parameters)."""
    p, jac = jacobian(problem, records.inputs)
    slope = p - torch.nn.functional.one_hot(records.targets, p.shape[1])
    if objective == "expected_error":
        slope = slope * p.gather(1, records.targets.unsqueeze(1))
    return torch.einsum("ncp,nc->np", jac, slope)


def gauss_newton(problem: Problem) -> Tensor:
    """The mean over the anchor of J' (diag p - p p') J."""
    p, jac = jacobian(problem, problem.anchor.inputs)
    middle = torch.diag_embed(p) - p.unsqueeze(2) * p.unsqueeze(1)
    return torch.einsum("ncp,ncd,ndq->pq", jac, middle, jac) / len(problem.anchor)


def ridge(problem: Problem) -> float:
    """The rule's damping, with the trace itself in place of its estimate."""
    return float(gauss_newton(problem).trace()) * ClassicalSettings().damping / len(problem.anchor) ** 0.5


def influence(problem: Problem, records: Records, damping: float) -> Tensor:
    """(records, queries)."""
    curvature = gauss_newton(problem)
    curvature.diagonal().add_(damping)
    queries = loss_gradients(problem, problem.queries, problem.objective)
    return loss_gradients(problem, records) @ torch.linalg.solve(curvature, queries.T) / len(problem.anchor)


def correlation(left: Tensor, right: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([left.flatten(), right.flatten()]))[0, 1])


def test_product__blocks_of_rows__is_the_dense_matrix(smooth: Problem) -> None:
    truth = gauss_newton(smooth)
    for rows in (7, 60):
        with exact(), torch.no_grad():
            found = GaussNewton(smooth, rows).product(torch.eye(len(truth)))
        assert torch.allclose(found.double(), truth, rtol=1e-4, atol=1e-6)


def test_ridge__rule__follows_the_trace_and_the_root_of_the_targets(smooth: Problem) -> None:
    with exact(), torch.no_grad():
        found = float(GaussNewton(smooth).ridge(0.01, Stream(b"seed", "trace")))
    assert found == pytest.approx(ridge(smooth), rel=0.5)


@pytest.mark.parametrize("objective", ["cross_entropy", "expected_error"])
def test_classical__per_query__is_dense_influence(objective: str, newcomers: Records) -> None:
    problem = smooth_problem(objective)
    with exact(), torch.no_grad():
        damping = float(
            GaussNewton(problem).ridge(ClassicalSettings().damping, Stream(bytes(31) + b"\1", "curvature/trace"))
        )
    truth = influence(problem, newcomers, damping)
    found = fit(problem, "classical", seed=1, per_query=True, radius=1e-3, iterations=30).score(newcomers).values
    assert correlation(found, truth) > 0.9999
    assert float((found - truth).norm() / truth.norm()) < 0.02


def test_classical__default_steps__come_near_the_dense_solution(smooth: Problem, newcomers: Records) -> None:
    few = fit(smooth, "classical", seed=1, per_query=True).score(newcomers).values
    many = fit(smooth, "classical", seed=1, per_query=True, iterations=40).score(newcomers).values
    assert correlation(few, many) > 0.98


@pytest.mark.parametrize(("radius", "most"), [(1e-4, 0.02), (1e-3, 0.003), (1e-2, 0.01), (1e-1, 0.5)])
def test_radius__two_forward_passes__read_out_the_dot_product(
    smooth: Problem, newcomers: Records, radius: float, most: float
) -> None:
    probes = fit(smooth, "classical", seed=1, per_query=True, radius=radius)
    assert isinstance(probes, Probes)
    ups, downs = (
        torch.cat([w[rows].flatten(1) for w in probes.weights.values()], 1).double() for rows in _ends(probes)
    )
    directions = (ups - downs) * probes.coefficients[_ends(probes)[0]].unsqueeze(1)
    truth = loss_gradients(smooth, newcomers) @ directions.T
    found = probes.score(newcomers).values
    assert float((found - truth).norm() / truth.norm()) < most


def _ends(probes: Probes) -> tuple[Tensor, Tensor]:
    """Positions of each column's ascending probe, and of its descending one."""
    order = torch.argsort(probes.columns, stable=True)
    return order[0::2], order[1::2]


def test_classical__convnet__scores_like_its_dense_matrix() -> None:
    stream = Stream(b"classical", "images")
    images, targets = stream.normal((24, 1, 5, 5)), torch.arange(24) % 3
    model = build(
        "convnet", {"channels": 1, "height": 5, "width": 5, "filters": [3], "classes": 3, "activation": "tanh"}
    )
    initialise(model, stream)
    problem = Problem(model, Records(images[:16], targets[:16]), Records(images[16:20], targets[16:20]))
    few = Records(images[20:], targets[20:])
    with exact(), torch.no_grad():
        damping = float(GaussNewton(problem).ridge(0.3, Stream(bytes(31) + b"\1", "curvature/trace")))
    found = fit(problem, "classical", seed=1, per_query=True, damping=0.3, radius=1e-3, iterations=20).score(few).values
    assert correlation(found, influence(problem, few, damping)) > 0.999
