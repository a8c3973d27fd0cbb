"""The yardsticks against a slow, explicit computation, and the worker that every method runs in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from influence_peers import last_line
from influence_tasks import TASKS, flip, starts, train
from influence_worker import Given, network
from influence_yardsticks import dense, gradient_product

from validator.influence.models import build
from validator.influence.problem import Network

CONFIG = {"inputs": 3, "hidden": [4], "classes": 3, "activation": "relu"}
FOLDER = Path(__file__).resolve().parents[2] / "scripts" / "benchmarks"


def given(damping: float = 0.01) -> Given:
    generator = torch.Generator().manual_seed(0)
    module = build("mlp", CONFIG)
    state = {name: torch.randn(w.shape, generator=generator) for name, w in module.state_dict().items()}
    return Given(
        torch.randn(7, 3, generator=generator),
        torch.randint(0, 3, (7,), generator=generator),
        torch.randn(2, 3, generator=generator),
        torch.randint(0, 3, (2,), generator=generator),
        state,
        1e-3,
        {"damping": damping},
    )


def gradients(task: Given, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    module = network(task.state).double()
    rows = []
    for x, y in zip(inputs.double(), targets, strict=True):
        loss = torch.nn.functional.cross_entropy(module(x.unsqueeze(0)), y.unsqueeze(0))
        rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(module.parameters()))]))
    return torch.stack(rows)


def gauss_newton(task: Given) -> torch.Tensor:
    module, total = network(task.state).double(), torch.zeros((), dtype=torch.float64)
    for x in task.inputs.double():
        logits = module(x.unsqueeze(0))[0]
        slopes = [torch.autograd.grad(z, list(module.parameters()), retain_graph=True) for z in logits]
        jacobian = torch.stack([torch.cat([g.flatten() for g in row]) for row in slopes])
        p = torch.softmax(logits.detach(), 0)
        total = total + jacobian.T @ (torch.diag(p) - torch.outer(p, p)) @ jacobian
    return total / len(task.inputs)


def test_network__state_of_the_builtin_mlp__maps_to_the_same_logits() -> None:
    task, module = given(), build("mlp", CONFIG)
    module.load_state_dict(task.state)

    assert torch.equal(network(task.state)(task.inputs), module(task.inputs))


def test_gradient_product__tiny_network__is_the_product_of_gradients() -> None:
    task = given()
    wanted = gradients(task, task.inputs, task.targets) @ gradients(task, task.query_inputs, task.query_targets).T

    assert torch.allclose(gradient_product(task)(), wanted)


@pytest.mark.parametrize("damping", [0.01, 1.0])
def test_dense__tiny_network__solves_the_explicit_matrix(damping: float) -> None:
    task = given(damping)
    matrix = gauss_newton(task)
    matrix.diagonal().add_(damping)
    asked = gradients(task, task.query_inputs, task.query_targets)

    wanted = gradients(task, task.inputs, task.targets) @ torch.linalg.solve(matrix, asked.T) / len(task.inputs)

    assert torch.allclose(dense(task)(), wanted)


def test_flip__labels_of_a_task__changes_exactly_a_tenth() -> None:
    targets = torch.arange(1000) % 10

    chosen, labels = flip(targets, TASKS["digits"])

    assert int(chosen.sum()) == 100
    assert torch.equal(labels != targets, chosen)


def test_train__two_networks_on_rows_of_their_own__reach_critical_points_that_differ() -> None:
    task = given()
    smooth = CONFIG | {"activation": "tanh"}
    net, rows = Network(build("mlp", smooth)), torch.tensor([[0, 1, 2, 3], [3, 4, 5, 6]])
    labels = task.targets[rows]

    found = train(net, starts(TASKS["quick"], "test", 2, smooth), task.inputs, task.targets, rows, 0.1, 1_500)

    def slope(logits: torch.Tensor) -> torch.Tensor:
        hot = torch.nn.functional.one_hot(labels, 3)
        return (torch.softmax(logits, -1) - hot) / 4

    left = net.gradient(found, task.inputs[rows], slope)
    assert all(float((g + 0.1 * found[name]).abs().max()) < 1e-4 for name, g in left.items())
    assert not torch.equal(found["1.weight"][0], found["1.weight"][1])


def test_worker__yardstick_on_a_task_file__writes_values_and_costs(tmp_path: Path) -> None:
    task, out = given(), tmp_path / "out.pt"
    kinds = {"targets": task.targets, "state": task.state}
    whole = kinds | {f"flipped_{name}": value for name, value in kinds.items()}
    whole |= {"inputs": task.inputs, "query_inputs": task.query_inputs, "query_targets": task.query_targets}
    torch.save(whole | {"weight_decay": task.decay}, tmp_path / "task.pt")

    command = [sys.executable, str(FOLDER / "influence_yardsticks.py"), "gradient product"]
    subprocess.run([*command, str(tmp_path / "task.pt"), str(out)], check=True)

    found = torch.load(out, weights_only=True)
    assert torch.equal(found["values"], gradient_product(task)())
    assert found["peak_mb"] >= found["start_mb"] > 0


def test_last_line__traceback__is_the_message_alone() -> None:
    text = "Traceback (most recent call last):\n  File x\nroom.errors.OurError: no such thing\n\n"

    assert last_line(text) == "no such thing"
