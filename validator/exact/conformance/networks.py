"""Small networks with weights from a stream, and their training written out step by step."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn import functional

from validator.exact.random import Stream


def mlp() -> nn.Sequential:
    """(n, 12) to 5 logits, through every common activation."""
    layers = (nn.Linear(12, 16), nn.LayerNorm(16), nn.GELU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16))
    return nn.Sequential(*layers, nn.SiLU(), nn.Linear(16, 5))


def convnet() -> nn.Sequential:
    """(n, 1, 10, 10) to 5 logits."""
    first = (nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3, stride=2, padding=1))
    return nn.Sequential(*first, nn.GELU(approximate="tanh"), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(6, 5))


def filled(module: nn.Module, name: str) -> nn.Module:
    """The module with weights from a stream of that name, scaled by the square root of their fan-in."""
    stream = Stream(b"weights", name)
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(stream.normal(p.shape) / (p[0].numel() if p.dim() > 1 else 4) ** 0.5)
    return module


def trained(module: nn.Module, inputs: Tensor, labels: Tensor, steps: int = 3) -> dict[str, Tensor]:
    """Parameters after SGD steps with momentum and weight decay."""
    velocity = {name: torch.zeros_like(p) for name, p in module.named_parameters()}
    for _ in range(steps):
        module.zero_grad()
        functional.cross_entropy(module(inputs), labels).backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            for name, p in module.named_parameters():
                if p.grad is not None:
                    velocity[name].mul_(0.9).add_(p.grad.add(p, alpha=1e-3))
                p.add_(velocity[name], alpha=-0.05)
    return {name: p.detach() for name, p in module.named_parameters()}


def trained_together(models: list[nn.Module], inputs: Tensor, labels: Tensor, steps: int = 3) -> dict[str, Tensor]:
    """Parameters (models, ...) after plain SGD steps of all models at once."""
    stacked, _ = stack_module_state(models)
    params = {name: p.detach() for name, p in stacked.items()}

    def loss(p: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return functional.cross_entropy(functional_call(models[0], p, (x,)), y)

    for _ in range(steps):
        grads = vmap(grad(loss))(params, inputs, labels)
        params = {name: p - 0.05 * grads[name] for name, p in params.items()}
    return params
