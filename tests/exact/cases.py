"""What exact() supports, as a list of small computations: the tests and the golden digests walk the same list."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap

from validator.exact.random import Stream


@dataclass(frozen=True, slots=True)
class Case:
    """`run` maps float tensors of `shapes` to one; `rowwise`: row i of it depends on row i of the first input only."""

    name: str
    run: Callable[..., Tensor]
    shapes: tuple[tuple[int, ...], ...]
    rowwise: bool = False
    positive: bool = False
    backward: bool = True
    tolerance: float = 2e-6

    def inputs(self, dtype: torch.dtype = torch.float32) -> list[Tensor]:
        stream = Stream(b"cases", self.name)
        drawn = [stream.normal(shape) for shape in self.shapes]
        return [(d.abs() + 0.01 if self.positive else d).to(dtype) for d in drawn]

    def outcome(self, inputs: list[Tensor]) -> list[Tensor]:
        """The result, and the gradients of its product with a fixed tensor."""
        leaves = [x.detach().requires_grad_(self.backward) for x in inputs]
        out = self.run(*leaves)
        if not self.backward:
            return [out]
        cotangent = Stream(b"cotangent", self.name).normal(out.shape).to(out.dtype)
        return [out.detach(), *torch.autograd.grad(out, leaves, cotangent)]


def _labels(shape: tuple[int, ...], classes: int = 5) -> Tensor:
    return Stream(b"labels", str(shape)).integers(classes, shape)


def _repeated(n: int, high: int) -> Tensor:
    return Stream(b"index", f"{n}/{high}").integers(high, (n,))


def _pointwise() -> list[Case]:
    plain: dict[str, Callable[[Tensor], Tensor]] = {
        "relu": F.relu,
        "gelu": F.gelu,
        "gelu tanh": lambda x: F.gelu(x, approximate="tanh"),
        "tanh": torch.tanh,
        "sigmoid": torch.sigmoid,
        "silu": F.silu,
        "softplus": F.softplus,
        "log sigmoid": F.logsigmoid,
        "elu": F.elu,
        "leaky relu": F.leaky_relu,
        "hardtanh": F.hardtanh,
        "exp": torch.exp,
        "expm1": torch.expm1,
        "erf": torch.erf,
        "erfc": torch.erfc,
        "sin": torch.sin,
        "cos": torch.cos,
        "square": torch.square,
        "cube": lambda x: x**3,
        "abs": torch.abs,
        "clamp": lambda x: x.clamp(-0.5, 0.5),
        "divide by a number": lambda x: x / 3.0,
        "divide a number": lambda x: 2.0 / (x.abs() + 1.0),
        "softmax": lambda x: F.softmax(x, -1),
        "log softmax": lambda x: F.log_softmax(x, -1),
        "logsumexp": lambda x: x.logsumexp(-1),
        "layer norm bare": lambda x: F.layer_norm(x, (x.shape[-1],)),
        "sum of rows": lambda x: x.sum(-1),
        "mean of rows": lambda x: x.mean(-1),
        "variance of rows": lambda x: x.var(-1),
        "deviation of rows": lambda x: x.std(-1, correction=0),
        "norm of rows": lambda x: x.norm(dim=-1),
        "cumulative sum": lambda x: x.cumsum(-1),
        "maximum of rows": lambda x: x.max(-1).values,
        "largest of rows": lambda x: x.amax(-1),
        "sorted rows": lambda x: x.sort(-1).values,
        "top of rows": lambda x: x.topk(3, -1).values,
        "dropout off": lambda x: F.dropout(x, 0.0, True),
        "expected error": lambda x: 1.0 - x.softmax(-1)[:, 2],
    }
    positive: dict[str, Callable[[Tensor], Tensor]] = {
        "log": torch.log,
        "log1p": torch.log1p,
        "log2": torch.log2,
        "sqrt": torch.sqrt,
        "rsqrt": torch.rsqrt,
        "power 1.7": lambda x: x**1.7,
        "power -2": lambda x: x**-2,
        "reciprocal": torch.reciprocal,
    }
    return [Case(name, run, ((37, 20),), rowwise=True) for name, run in plain.items()] + [
        Case(name, run, ((37, 20),), rowwise=True, positive=True) for name, run in positive.items()
    ]


def _joined() -> list[Case]:
    where = _repeated(200, 11)
    return [
        Case("linear", F.linear, ((33, 70), (12, 70), (12,)), rowwise=True),
        Case("mm", torch.mm, ((17, 40), (40, 9)), rowwise=True),
        Case("mm long", torch.mm, ((3, 9000), (9000, 4)), rowwise=True, tolerance=4e-6),
        Case("bmm", torch.bmm, ((5, 8, 16), (5, 16, 7))),
        Case("mv", torch.mv, ((8, 30), (30,)), rowwise=True),
        Case("dot", torch.dot, ((300,), (300,))),
        Case("einsum", lambda a, b: torch.einsum("bij,bkj->bik", a, b), ((4, 5, 6), (4, 7, 6))),
        Case("layer norm", lambda x, w, b: F.layer_norm(x, (24,), w, b), ((19, 24), (24,), (24,)), rowwise=True),
        Case("batch norm", _batch_norm, ((6, 3, 4, 4), (3,), (3,)), rowwise=True),
        Case("add scaled", lambda x, y: torch.add(x, y, alpha=0.3), ((9, 9), (9, 9))),
        Case("addcmul", lambda x, a, b: torch.addcmul(x, a, b, value=0.3), ((9, 9),) * 3),
        Case("lerp", lambda x, y: torch.lerp(x, y, 0.3), ((9, 9),) * 2),
        Case("quotient", lambda x, y: x / (y.abs() + 0.5), ((9, 9), (9, 9))),
        Case("where", lambda x, y: torch.where(x > y, x, y * 2.0), ((9, 9), (9, 9))),
        Case("maximum", torch.maximum, ((9, 9), (9, 9))),
        Case("mse", F.mse_loss, ((9, 9), (9, 9))),
        Case("mse sum", lambda x, y: F.mse_loss(x, y, reduction="sum"), ((9, 9), (9, 9))),
        Case("logistic loss", lambda x: F.binary_cross_entropy_with_logits(x, torch.ones_like(x)), ((9, 9),)),
        Case("cross entropy", lambda x: F.cross_entropy(x, _labels((40,))), ((40, 5),)),
        Case("cross entropy each", lambda x: F.cross_entropy(x, _labels((40,)), reduction="none"), ((40, 5),)),
        Case("cross entropy smooth", lambda x: F.cross_entropy(x, _labels((40,)), label_smoothing=0.1), ((40, 5),)),
        Case(
            "cross entropy weighted", lambda x, w: F.cross_entropy(x, _labels((40,)), w.detach().abs()) + 0.0 * w.sum(),
            ((40, 5), (5,)),
        ),
        Case("cross entropy ignoring", lambda x: F.cross_entropy(x, _labels((40,)), ignore_index=2), ((40, 5),)),
        Case("cross entropy 2d", lambda x: F.cross_entropy(x, _labels((4, 3, 3))), ((4, 5, 3, 3),)),
        Case("nll", lambda x: F.nll_loss(x, _labels((40,)), reduction="sum"), ((40, 5),)),
        Case("gather", lambda x: x.gather(1, _labels((40, 3))), ((40, 5),), rowwise=False),
        Case("index", lambda x: x[where], ((11, 6),)),
        Case("index select", lambda x: x.index_select(0, where), ((11, 6),)),
        Case("embedding", lambda w: F.embedding(where, w), ((11, 6),)),
        Case("scatter add", lambda x: x.new_zeros(11).scatter_add(0, where, x), ((200,),)),
        Case("index add", lambda x: x.new_zeros(11, 6).index_add(0, where, x), ((200, 6),)),
        Case("concatenated", lambda x, y: torch.cat([x, y, x], 1), ((9, 4), (9, 3)), rowwise=False),
        Case("total", torch.sum, ((300, 200),)),
        Case("total mean", torch.mean, ((300, 200),)),
        Case("column sums", lambda x: x.sum(0), ((300, 200),)),
    ]  # fmt: skip


def _batch_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.batch_norm(x, x.new_tensor([0.1, 0.2, -0.1]), x.new_tensor([1.5, 0.5, 1.0]), weight, bias)


def _spatial() -> list[Case]:
    image = (3, 4, 9, 8)
    return [
        Case("conv", F.conv2d, (image, (6, 4, 3, 3), (6,)), rowwise=True),
        Case("conv strided", lambda x, w: F.conv2d(x, w, stride=2, padding=1), (image, (6, 4, 3, 3)), rowwise=True),
        Case("conv dilated", lambda x, w: F.conv2d(x, w, dilation=(2, 1)), (image, (6, 4, 3, 2)), rowwise=True),
        Case("conv grouped", lambda x, w: F.conv2d(x, w, groups=2), (image, (6, 2, 3, 3)), rowwise=True),
        Case("conv 1d", lambda x, w, b: F.conv1d(x, w, b, stride=2, padding=1), ((3, 4, 9), (6, 4, 3), (6,)), True),
        Case("max pool", lambda x: F.max_pool2d(x, 2), (image,), rowwise=True),
        Case("max pool overlapping", lambda x: F.max_pool2d(x, 3, 2, 1), (image,), rowwise=True),
        Case("max pool 1d", lambda x: F.max_pool1d(x, 2), ((3, 4, 9),), rowwise=True),
        Case("average pool", lambda x: F.avg_pool2d(x, 2), (image,), rowwise=True),
        Case("average pool padded", lambda x: F.avg_pool2d(x, 3, 2, 1), (image,), rowwise=True),
        Case(
            "average pool inside", lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False), (image,), rowwise=True
        ),
        Case("adaptive average pool", lambda x: F.adaptive_avg_pool2d(x, (3, 2)), (image,), rowwise=True),
        Case("adaptive average pool to one", lambda x: F.adaptive_avg_pool2d(x, 1), (image,), rowwise=True),
        Case("adaptive max pool", lambda x: F.adaptive_max_pool2d(x, (3, 4)), (image,), rowwise=True),
    ]


CASES = [*_pointwise(), *_joined(), *_spatial()]


def mlp() -> nn.Sequential:
    layers = (nn.Linear(12, 16), nn.LayerNorm(16), nn.GELU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16))
    return nn.Sequential(*layers, nn.SiLU(), nn.Linear(16, 5))


def convnet() -> nn.Sequential:
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
        F.cross_entropy(module(inputs), labels).backward()
        with torch.no_grad():
            for name, p in module.named_parameters():
                velocity[name].mul_(0.9).add_(p.grad.add(p, alpha=1e-3))
                p.add_(velocity[name], alpha=-0.05)
    return {name: p.detach() for name, p in module.named_parameters()}


def trained_together(models: list[nn.Module], inputs: Tensor, labels: Tensor, steps: int = 3) -> dict[str, Tensor]:
    """Parameters (models, ...) after plain SGD steps of all models at once."""
    stacked, _ = stack_module_state(models)
    params = {name: p.detach() for name, p in stacked.items()}

    def loss(p: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(models[0], p, (x,)), y)

    for _ in range(steps):
        grads = vmap(grad(loss))(params, inputs, labels)
        params = {name: p - 0.05 * grads[name] for name, p in params.items()}
    return params
