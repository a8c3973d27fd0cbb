"""Models under exact(): together or alone, in one batch or record by record, with torch's own optimizers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn import functional as F

from validator.exact import exact
from validator.exact.conformance.networks import convnet, filled, mlp, trained
from validator.exact.random import Stream

MODELS = pytest.mark.parametrize(("build", "shape"), [(mlp, (12,)), (convnet, (1, 10, 10))], ids=["mlp", "convnet"])
Losses = Callable[[Tensor, Tensor], Tensor]


def _expected_error(logits: Tensor, labels: Tensor) -> Tensor:
    return (1.0 - logits.softmax(-1).gather(-1, labels.unsqueeze(-1))).mean()


def _squares(logits: Tensor, labels: Tensor) -> Tensor:
    return F.mse_loss(logits, (labels.unsqueeze(-1) == torch.arange(5)).float())


@MODELS
@pytest.mark.parametrize("loss", [F.cross_entropy, _expected_error, _squares], ids=["cross-entropy", "error", "mse"])
def test_gradients__models_under_vmap__bits_of_each_model_alone(
    build: Callable[[], nn.Module], shape: tuple[int, ...], loss: Losses
) -> None:
    stream = Stream(b"together", "data")
    models = [filled(build(), f"{i}") for i in range(3)]
    x, y = stream.normal((3, 7, *shape)), stream.integers(5, (3, 7))
    params = {name: p.detach() for name, p in stack_module_state(models)[0].items()}
    with exact():
        together = vmap(grad(lambda p, a, b: loss(functional_call(models[0], p, (a,)), b)))(params, x, y)
        for i, model in enumerate(models):
            loss(model(x[i]), y[i]).backward()
    for i, model in enumerate(models):
        assert all(torch.equal(p.grad, together[name][i]) for name, p in model.named_parameters())


@MODELS
def test_gradients__records_under_vmap__bits_of_each_record_alone(
    build: Callable[[], nn.Module], shape: tuple[int, ...]
) -> None:
    stream = Stream(b"records", "data")
    model = filled(build(), "one")
    x, y = stream.normal((5, *shape)), stream.integers(5, (5,))
    params = {name: p.detach() for name, p in model.named_parameters()}

    def gradient(p: dict[str, Tensor], a: Tensor, b: Tensor) -> dict[str, Tensor]:
        return grad(lambda q: F.cross_entropy(functional_call(model, q, (a[None],)), b[None]))(p)

    with exact():
        together = vmap(gradient, in_dims=(None, 0, 0))(params, x, y)
        alone = [gradient(params, a, b) for a, b in zip(x, y, strict=True)]
    assert all(torch.equal(together[name][i], alone[i][name]) for name in params for i in range(5))


@MODELS
def test_forward__batch_in_pieces_and_inference_mode__same_bits(
    build: Callable[[], nn.Module], shape: tuple[int, ...]
) -> None:
    model = filled(build(), "forward")
    x = Stream(b"forward", "data").normal((9, *shape))
    with exact():
        whole = model(x).detach()
        pieces = torch.cat([model(piece).detach() for piece in x.split(2)])
        with torch.inference_mode():
            inferred = model(x).clone()
    assert torch.equal(whole, pieces)
    assert torch.equal(whole, inferred)


@MODELS
def test_gradients__against_float64__within_rounding(build: Callable[[], nn.Module], shape: tuple[int, ...]) -> None:
    stream = Stream(b"close", "data")
    x, y = stream.normal((9, *shape)), stream.integers(5, (9,))
    model, reference = filled(build(), "close"), filled(build(), "close").double()
    with exact():
        F.cross_entropy(model(x), y).backward()
    F.cross_entropy(reference(x.double()), y).backward()
    for ours, theirs in zip(model.parameters(), reference.parameters(), strict=True):
        assert float((ours.grad - theirs.grad).abs().max()) <= 1e-5 * float(theirs.grad.abs().max())


def test_training__sgd_of_torch__same_as_written_out() -> None:
    stream = Stream(b"sgd", "data")
    x, y = stream.normal((9, 12)), stream.integers(5, (9,))
    model = filled(mlp(), "sgd")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-3, foreach=False)
    copy = mlp()
    copy.load_state_dict(model.state_dict())
    with exact():
        written = trained(copy, x, y)
        for _ in range(3):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    assert all(torch.equal(p, written[name]) for name, p in model.named_parameters())


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.AdamW])
def test_training__adam__loss_falls(optimizer: type[torch.optim.Optimizer]) -> None:
    stream = Stream(b"adam", "data")
    x, y = stream.normal((9, 12)), stream.integers(5, (9,))
    model = filled(mlp(), "adam")
    rule = optimizer(model.parameters(), lr=0.01, foreach=False)
    losses = []
    with exact():
        for _ in range(5):
            rule.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            rule.step()
            losses.append(loss.item())
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    "activation",
    [
        nn.ReLU,
        nn.LeakyReLU,
        nn.GELU,
        nn.Tanh,
        nn.Sigmoid,
        nn.SiLU,
        nn.Softplus,
        nn.ELU,
        nn.LogSigmoid,
        nn.Hardtanh,
        nn.LayerNorm,
    ],
)
def test_training__many_cotangents_of_one_forward__have_the_bits_of_each_alone(activation: type[nn.Module]) -> None:
    middle = activation(6) if activation is nn.LayerNorm else activation()
    model = nn.Sequential(nn.Linear(4, 6), middle, nn.Linear(6, 3))
    filled(model, "cotangents")
    stream = Stream(b"cotangents", "data")
    x, cotangents = stream.normal((7, 4)), stream.normal((5, 7, 3))
    with exact():
        weights = {name: p.detach() for name, p in model.named_parameters()}
        _, pull = torch.func.vjp(lambda w: torch.func.functional_call(model, w, (x,)), weights)
        together = torch.func.vmap(pull)(cotangents)[0]
        alone = [pull(cotangent)[0] for cotangent in cotangents]
    for name in weights:
        assert torch.equal(together[name], torch.stack([one[name] for one in alone])), name
