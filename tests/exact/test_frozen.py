"""Frozen weights: the same bits, snapped once, and a broken promise is found out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from validator.exact import ExactError, exact, frozen, products
from validator.exact.random import Stream


def _model() -> nn.Sequential:
    model = nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 5))
    stream = Stream(b"frozen", "weights")
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(stream.normal(p.shape))
    return model


def _gradients(model: nn.Module, x: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(model(x).square().sum(), list(model.parameters())))


def test_frozen__forward_and_backward__same_bits_as_without() -> None:
    model, x = _model(), Stream(b"frozen", "x").normal((7, 12))
    with exact():
        plain, expected = model(x).detach(), _gradients(model, x)
        with frozen(model.parameters()):
            twice = [(model(x).detach(), _gradients(model, x)) for _ in range(2)]
    for logits, gradients in twice:
        assert torch.equal(logits, plain)
        assert all(torch.equal(a, b) for a, b in zip(gradients, expected, strict=True))


def test_frozen__stacked_weights_under_vmap__same_bits_as_without() -> None:
    model, x = _model(), Stream(b"frozen", "x").normal((7, 12))
    stacked = {name: torch.stack([p.detach(), p.detach() * 1.5]) for name, p in model.named_parameters()}

    def logits() -> Tensor:
        return vmap(lambda w: functional_call(model, w, (x,)))(stacked)  # type: ignore[no-any-return]

    with exact():
        plain = logits()
        with frozen(stacked.values()):
            assert torch.equal(logits(), plain)
            assert torch.equal(logits(), plain)


def test_frozen__second_product__snaps_only_the_other_operand(monkeypatch: pytest.MonkeyPatch) -> None:
    snapped: list[tuple[int, ...]] = []

    def counting(x: Tensor, dims: tuple[int, ...], bits: int, count: int, op: str) -> list[Tensor]:
        snapped.append(tuple(x.shape))
        return real(x, dims, bits, count, op)

    real = products.operand.__globals__["slices"]
    monkeypatch.setitem(products.operand.__globals__, "slices", counting)
    weight, x = torch.ones(5, 4), torch.ones(3, 4)
    with exact(), frozen([weight]):
        for _ in range(3):
            x @ weight.t()
    assert sorted(snapped) == [(3, 4), (3, 4), (3, 4), (4, 5)]


def test_frozen__changed_in_place__refused_at_the_next_product() -> None:
    weight, x = torch.ones(5, 4), torch.ones(3, 4)
    with exact(), frozen([weight]):
        x @ weight.t()
        weight.mul_(2.0)
        with pytest.raises(ExactError, match="changed in place"):
            x @ weight.t()


def test_frozen__after_the_block__changes_are_seen() -> None:
    weight, x = torch.ones(5, 4), torch.ones(3, 4)
    with exact():
        with frozen([weight]):
            x @ weight.t()
        weight.mul_(2.0)
        assert torch.equal(x @ weight.t(), torch.full((3, 5), 8.0))


def test_frozen__nested__both_sets_hold_inside_and_the_outer_after() -> None:
    first, second, x = torch.ones(5, 4), torch.ones(5, 4), torch.ones(3, 4)
    with exact(), frozen([first]):
        with frozen([second]):
            x @ second.t()
        second.mul_(2.0)
        assert torch.equal(x @ second.t(), torch.full((3, 5), 8.0))
        first.mul_(2.0)
        with pytest.raises(ExactError):
            x @ first.t()


def test_frozen__inference_tensor__refused() -> None:
    with torch.inference_mode():
        weight = torch.ones(2, 2)
    with pytest.raises(ExactError, match="inference mode"), frozen([weight]):
        raise AssertionError("entered")
