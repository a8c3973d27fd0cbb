"""EK-FAC against its formula, written out slowly in float64, and the eigenvectors under it against LAPACK's."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from validator.exact import exact
from validator.exact.random import Stream
from validator.influence import Problem, Records, fit
from validator.influence.classical import copies
from validator.influence.curvature import GaussNewton, flatten, solve
from validator.influence.ekfac import WIDEST, Kronecker, basis
from validator.influence.folds import deal, objective_gradient
from validator.influence.jacobi import eigenvectors
from validator.influence.layers import find_layers
from validator.influence.models import build, initialise


def problem_of(model: nn.Module, inputs: Tensor, classes: int = 3) -> Problem:
    initialise(model, Stream(b"ekfac", "model"))
    targets = torch.arange(len(inputs)) % classes
    return Problem(model, Records(inputs, targets), Records(inputs[:4], targets[:4]))


@pytest.fixture(scope="module")
def tiny() -> Problem:
    """MLP 5-4-3 with tanh, 39 parameters; 12 anchor records."""
    model = build("mlp", {"inputs": 5, "hidden": [4], "classes": 3, "activation": "tanh"})
    return problem_of(model, Stream(b"ekfac", "inputs").normal((12, 5)))


def kronecker(problem: Problem, draws: int = 0, rows: int = 5) -> Kronecker:
    with exact(), torch.no_grad():
        return Kronecker(problem, b"seed", draws, rows)


def label_gradients(problem: Problem, module: nn.Module) -> list[tuple[float, dict[str, Tensor]]]:
    """For each anchor record and class: the model's probability, and the gradient if that class were the label."""
    found, names = [], [name for name, _ in module.named_parameters()]
    for x in problem.anchor.inputs.double():
        logits = module(x.unsqueeze(0))
        for label, p in enumerate(logits.softmax(-1)[0].tolist()):
            loss = nn.functional.cross_entropy(logits, torch.tensor([label]))
            slopes = torch.autograd.grad(loss, list(module.parameters()), retain_graph=True)
            found.append((p, dict(zip(names, slopes, strict=True))))
    return found


def dense_solution(problem: Problem, direction: Tensor, damping: float) -> Tensor:
    """`(K + damping)^-1 direction` with K as a matrix: for each layer, squares of rotated gradients on a Kronecker
    product of the factors' eigenvectors.
    """
    module = copy.deepcopy(problem.network.module()).double()
    gradients, count, start, parts = label_gradients(problem, module), len(problem.anchor), 0, []
    hidden = torch.tanh(module[1](problem.anchor.inputs.double())).detach()
    for name, inputs in (("1", problem.anchor.inputs.double()), ("3", hidden)):
        joined = [(p, torch.cat([g[f"{name}.weight"], g[f"{name}.bias"].unsqueeze(1)], 1)) for p, g in gradients]
        a = torch.cat([inputs, torch.ones(count, 1)], 1)
        # The slope of a layer's output is its bias gradient.
        s = torch.stack([g[:, -1] * p**0.5 for p, g in joined])
        left, right = torch.linalg.eigh(s.T @ s)[1], torch.linalg.eigh(a.T @ a)[1]
        turn = torch.kron(left, right)
        values = sum(p * (turn.T @ g.flatten()) ** 2 for p, g in joined) / count
        curvature = turn @ torch.diag(values + damping) @ turn.T
        size = joined[0][1].numel()
        weight, bias = direction[start : start + size].split([size - len(left), len(left)])
        flat = torch.cat([weight.view(len(left), -1), bias.unsqueeze(1)], 1).double().flatten()
        solved = torch.linalg.solve(curvature, flat).view(len(left), -1)
        parts += [solved[:, :-1].flatten(), solved[:, -1]]
        start += size
    return torch.cat(parts)


def test_solve__tiny_model__agrees_with_the_dense_kronecker_formula(tiny: Problem) -> None:
    direction = Stream(b"ekfac", "direction").normal((2, 39))
    with exact(), torch.no_grad():
        found = kronecker(tiny).solve(direction, torch.tensor(0.01))
    for row in range(2):
        assert torch.allclose(found[row].double(), dense_solution(tiny, direction[row], 0.01), rtol=1e-3, atol=1e-5)


def test_solve__relative_damping__is_of_each_layers_mean(tiny: Problem) -> None:
    direction, found = Stream(b"ekfac", "direction").normal((1, 39)), kronecker(tiny)
    with exact(), torch.no_grad():
        relative = found.solve(direction, relative=0.1)
        first = found.solve(direction, found.blocks[0].values.mean() * 0.1)
        second = found.solve(direction, found.blocks[1].values.mean() * 0.1)
    # The first layer's weights come first, its bias after them.
    assert torch.equal(relative[:, :24], first[:, :24])
    assert torch.equal(relative[:, 24:], second[:, 24:])


def convnet() -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(16, 3))


def tokens_and_norm() -> nn.Module:
    return nn.Sequential(nn.Embedding(7, 4), nn.Flatten(), nn.LayerNorm(12), nn.Linear(12, 3))


INPUTS = {
    "convnet": (convnet, Stream(b"ekfac", "images").normal((9, 2, 4, 4))),
    "embedding and norm": (tokens_and_norm, Stream(b"ekfac", "tokens").integers(7, (9, 3))),
}


@pytest.mark.parametrize("name", INPUTS)
def test_values__sum__is_the_trace_of_gauss_newton(name: str) -> None:
    make, inputs = INPUTS[name]
    problem = problem_of(make(), inputs)
    found = kronecker(problem)
    total = sum(float(block.values.sum()) for block in found.blocks) + sum(
        float(values.sum()) for values in found.diagonal.values()
    )
    size = sum(w.numel() for w in problem.network.weights().values())
    with exact(), torch.no_grad():
        matrix = GaussNewton(problem, rows=4).product(torch.eye(size))
    assert total == pytest.approx(float(matrix.diagonal().sum()), rel=1e-4)


def test_diagonal__embedding_and_norm__is_that_of_gauss_newton() -> None:
    make, inputs = INPUTS["embedding and norm"]
    problem = problem_of(make(), inputs)
    found = kronecker(problem)
    assert list(found.diagonal) == ["0.weight", "2.weight", "2.bias"]
    with exact(), torch.no_grad():
        matrix = GaussNewton(problem).product(torch.eye(28 + 12 + 12 + 39))
    flat = torch.cat([values.flatten() for values in found.diagonal.values()])
    assert torch.allclose(flat, matrix.diagonal()[:52], rtol=1e-3, atol=1e-6)


def test_values__drawn_labels__come_near_the_expectation(tiny: Problem) -> None:
    exactly, drawn = kronecker(tiny), kronecker(tiny, draws=100, rows=12)
    for one, other in zip(exactly.blocks, drawn.blocks, strict=True):
        assert float(other.values.sum()) == pytest.approx(float(one.values.sum()), rel=0.1)


class Shared(nn.Module):
    """One layer is called twice, two share a weight, one stands alone."""

    def __init__(self) -> None:
        super().__init__()
        self.twice, self.first, self.second, self.alone = (nn.Linear(4, 4, bias=False) for _ in range(4))
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.alone(self.second(torch.tanh(self.first(torch.tanh(self.twice(self.twice(x)))))))
        return found


def test_find_layers__shared_or_called_twice__are_left_to_the_diagonal() -> None:
    assert [layer.name for layer in find_layers(Shared(), torch.zeros(1, 4))] == ["alone"]
    problem = problem_of(Shared(), Stream(b"ekfac", "shared").normal((6, 4)))
    assert set(kronecker(problem).diagonal) == {"twice.weight", "first.weight"}


def test_solve__as_conditioner__halves_the_error_of_few_steps(problem: Problem) -> None:
    with exact(), torch.no_grad():
        curvature, found = GaussNewton(problem), kronecker(problem, rows=80)
        damping = curvature.ridge(0.01, Stream(b"ekfac", "trace"))
        folds = deal(len(problem.queries), 2)
        right = flatten(objective_gradient(problem, problem.network, copies(problem.network, 2), folds))
        truth = solve(curvature, damping, right, 100)
        plain = solve(curvature, damping, right, 6) - truth
        conditioned = solve(curvature, damping, right, 6, lambda v: found.solve(v, damping)) - truth
    assert float(conditioned.norm()) < float(plain.norm()) / 2


def test_ekfac__scores__resemble_those_of_classical(problem: Problem, digits: Records) -> None:
    newcomers = digits.select(torch.arange(300, 380))
    coarse = fit(problem, "ekfac", seed=1).score(newcomers).values
    fine = fit(problem, "classical", seed=1).score(newcomers).values
    assert float(torch.corrcoef(torch.stack([coarse, fine]))[0, 1]) > 0.8


@pytest.mark.parametrize("size", [1, 2, 3, 20, 33])
def test_eigenvectors__symmetric__make_it_diagonal_like_lapack(size: int) -> None:
    half = Stream(b"jacobi", str(size)).normal((size, size)).double()
    matrix = half @ half.T
    with exact(), torch.no_grad():
        found = eigenvectors(matrix)
    turned = found.T @ matrix @ found
    assert torch.allclose(found.T @ found, torch.eye(size, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(turned.diagonal().sort().values, torch.linalg.eigvalsh(matrix), rtol=1e-10, atol=1e-10)
    assert float((turned - torch.diag(turned.diagonal())).norm()) < 1e-12 * float(matrix.norm())


@pytest.mark.parametrize(
    "matrix", [torch.zeros(4, 4), torch.ones(4, 4), torch.diag(torch.tensor([1e100, 1, 1e-100], dtype=torch.float64))]
)
def test_eigenvectors__degenerate__stay_orthonormal(matrix: Tensor) -> None:
    with exact(), torch.no_grad():
        found = eigenvectors(matrix.double())
    assert torch.allclose(found.T @ found, torch.eye(len(matrix), dtype=torch.float64), atol=1e-12)


def test_basis__too_wide__is_cut_into_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert WIDEST == 512
    monkeypatch.setattr("validator.influence.ekfac.WIDEST", 8)
    half = Stream(b"jacobi", "wide").normal((15, 15)).double()
    with exact(), torch.no_grad():
        found = basis(half @ half.T)
    assert not bool(found[:7, 7:].any() | found[7:, :7].any())
    assert torch.allclose(found.T @ found, torch.eye(15), atol=1e-6)
