"""What the benchmark of exact arithmetic compares: training steps of whole networks."""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import math
from collections.abc import Callable
from dataclasses import replace

import torch
from exact_cases import Case, Made, Make, Setting
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

RATE = 1e-6
"""Small, so that hundreds of steps leave the network where it was."""
REPLICAS, ROWS = 16, 32


class Block(nn.Module):
    """A GPT block: layer norm, causal attention, residual; layer norm, MLP of four times the width, residual."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mix, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, tokens, width) to the same."""
        batch, tokens, width = x.shape
        parts = self.mix(self.before(x)).view(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(parts[0], parts[1], parts[2], is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, tokens, width))
        raised: Tensor = F.gelu(self.up(self.between(x)))
        return torch.add(x, self.down(raised))


def mlp(*widths: int) -> nn.Module:
    """Linear layers with ReLU between them."""
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def convnet() -> nn.Module:
    """Three 3 x 3 convolutions, an average over the image, a linear layer."""
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(64, 64, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 10),
    )


def filled(module: nn.Module, setting: Setting) -> nn.Module:
    """Weights normal with variance 1 / fan-in, biases zero, gains one."""
    plain = replace(setting, dtype=torch.float32, device=torch.device("cpu"))
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.dim() > 1:
                scale = math.sqrt(1 / math.prod(parameter.shape[1:]))
                parameter.copy_(plain.normal(name, *parameter.shape) * scale)
            else:
                parameter.fill_(1.0 if name.endswith("weight") else 0.0)
    return module.to(setting.device, setting.dtype)


def step(build: Callable[[], nn.Module], shape: tuple[int, ...], classes: int | None) -> Make:
    """Forward, backward and SGD; gives the gradients. The loss is cross-entropy, or the mean square without classes."""

    def make(setting: Setting) -> Made:
        model = filled(build(), setting)
        x = setting.normal("inputs", *shape)
        targets = setting.integers("targets", classes or 1, shape[0])
        parameters = list(model.parameters())
        optimiser = torch.optim.SGD(parameters, lr=RATE, foreach=False)

        def work() -> list[Tensor]:
            optimiser.zero_grad()
            output = model(x)
            loss = F.cross_entropy(output, targets) if classes else output.square().mean()
            loss.backward()
            optimiser.step()
            return [p.grad for p in parameters if p.grad is not None]

        return Made(work)

    return make


def family(name: str, config: dict[str, object]) -> Callable[[], nn.Module]:
    """One of the model families that manifests name."""
    models = importlib.import_module("validator.influence.models")
    return lambda: models.build(name, config)


def replicas(setting: Setting) -> Made:
    """Gradients of REPLICAS networks at once, each on ROWS records of its own: the inner step of the demo's scoring."""
    problem = importlib.import_module("validator.influence.problem")
    model = family("mlp", {"inputs": 64, "hidden": [64], "classes": 10, "activation": "relu"})()
    network = problem.Network(filled(model, setting))
    weights = {name: w.expand(REPLICAS, *w.shape).clone() for name, w in network.weights().items()}
    inputs, targets = setting.normal("inputs", REPLICAS, ROWS, 64), setting.integers("targets", 10, REPLICAS, ROWS)

    def work() -> list[Tensor]:
        slope = lambda z: problem.cross_entropy_slope(z, targets) / ROWS  # noqa: E731
        return list(network.gradient(weights, inputs, slope).values())

    return Made(work)


def _step(name: str, make: Make, target: float | None = 4.0) -> Case:
    return Case(f"{name}, training step", make, target, 1.34, accurate=True)


def ours() -> list[Case]:
    """The families of validator.influence; none where safetensors, which they need, is not installed."""
    if importlib.util.find_spec("safetensors") is None:
        return []
    small = family("mlp", {"inputs": 64, "hidden": [64], "classes": 10, "activation": "relu"})
    image = {"channels": 3, "height": 32, "width": 32, "filters": [32, 64], "classes": 10, "activation": "gelu"}
    return [
        _step("family mlp 64-64-10, batch 256", step(small, (256, 64), 10), None),
        _step(
            "family convnet 32-64 on 3 x 32 x 32, batch 64", step(family("convnet", image), (64, 3, 32, 32), 10), None
        ),
        Case(f"{REPLICAS} MLPs 64-64-10 at once, {ROWS} records each, gradients", replicas, accurate=True),
    ]


def networks() -> list[Case]:
    """All of them."""
    return [
        _step("MLP 512-512-512-10, batch 256", step(lambda: mlp(512, 512, 512, 10), (256, 512), 10)),
        _step("MLP 1024-1024-1024-10, batch 256", step(lambda: mlp(1024, 1024, 1024, 10), (256, 1024), 10)),
        _step("GPT block of width 512, 8 heads, 512 tokens", step(lambda: Block(512, 8), (1, 512, 512), None)),
        _step("convnet 3-32-64-64-10 on 32 x 32, batch 32", step(convnet, (32, 3, 32, 32), 10), None),
        *ours(),
    ]
