"""What the benchmark of exact arithmetic compares: single operators."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

from validator.exact.random import Stream

Work = Callable[[], list[Tensor]]


@dataclass(frozen=True, slots=True)
class Made:
    """A computation ready to run, and the tensors that it may promise not to change."""

    work: Work
    frozen: list[Tensor] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Setting:
    """In what a case is made: the same float32 numbers of a stream, whatever the dtype and the device."""

    dtype: torch.dtype
    device: torch.device
    seed: bytes = b"bench"

    def normal(self, name: str, *shape: int) -> Tensor:
        """Standard normals."""
        return Stream(self.seed, name).normal(shape).to(self.device, self.dtype)

    def integers(self, name: str, high: int, *shape: int) -> Tensor:
        """int64 below `high`."""
        return Stream(self.seed, name).integers(high, shape).to(self.device)


Make = Callable[[Setting], Made]


@dataclass(frozen=True, slots=True)
class Case:
    """A computation, made of the same numbers in any dtype and on any device, and what is asked of it.

    `target`: exact time over that of plain float32 on a CPU, at most; `target_cuda` on CUDA. `accurate`: whether the
    error against float64 is bounded by that of plain float32.
    """

    name: str
    make: Make
    target: float | None = None
    target_cuda: float | None = None
    accurate: bool = False


def one(function: Callable[..., Tensor], *shapes: tuple[int, ...], frozen: int | None = None) -> Make:
    """A function of normal tensors; `frozen` is the place of the one that does not change."""

    def make(setting: Setting) -> Made:
        given = [setting.normal(str(i), *shape) for i, shape in enumerate(shapes)]
        return Made(lambda: [function(*given)], [] if frozen is None else [given[frozen]])

    return make


def linear(width: int, batch: int, frozen: bool) -> Case:
    """Forward of one layer, width x width."""
    how = "frozen" if frozen else "changing"
    make = one(F.linear, (batch, width), (width, width), (width,), frozen=1 if frozen else None)
    return Case(f"linear forward {width}, batch {batch}, {how} weights", make, 2.5, 1.34, accurate=True)


def linear_step(width: int, batch: int) -> Case:
    """Forward and both gradients of one layer."""

    def make(setting: Setting) -> Made:
        x, weight, slope = (
            setting.normal(name, *shape)
            for name, shape in (("x", (batch, width)), ("w", (width, width)), ("g", (batch, width)))
        )
        leaves = [x.requires_grad_(), weight.requires_grad_()]
        return Made(lambda: list(torch.autograd.grad(F.linear(x, weight), leaves, slope)))

    return Case(f"linear forward and backward {width}, batch {batch}", make, None, 1.34, accurate=True)


def embedding_backward(rows: int, width: int, tokens: int) -> Case:
    """The gradient of a table: a scatter of sums."""

    def make(setting: Setting) -> Made:
        table = setting.normal("table", rows, width).requires_grad_()
        picked = setting.integers("tokens", rows, tokens)
        slope = setting.normal("slope", tokens, width)
        return Made(lambda: list(torch.autograd.grad(F.embedding(picked, table), table, slope)))

    return Case(f"embedding {rows} x {width}, backward of {tokens} tokens", make)


def cross_entropy(rows: int, classes: int) -> Case:
    """Forward of the loss."""

    def make(setting: Setting) -> Made:
        logits = setting.normal("logits", rows, classes)
        targets = setting.integers("targets", classes, rows)
        return Made(lambda: [F.cross_entropy(logits, targets)])

    return Case(f"cross-entropy {rows} x {classes}", make)


def attention(heads: int, tokens: int, width: int) -> Case:
    """Causal scaled dot product attention, forward."""
    shape = (1, heads, tokens, width)
    make = one(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True), shape, shape, shape)
    return Case(f"attention, {heads} heads, {tokens} tokens, width {width}, causal", make, accurate=True)


def operators() -> list[Case]:
    """All of them."""
    layers = itertools.product((512, 1024, 2048), (256, 1024), (False, True))
    square = (1024, 1024)
    return [
        *(linear(width, batch, frozen) for width, batch, frozen in layers),
        linear_step(1024, 1024),
        *(Case(f"mm {n} x {n} x {n}", one(torch.mm, (n, n), (n, n)), accurate=True) for n in (512, 1024, 2048)),
        Case("bmm 16 x 256 x 256 x 256", one(torch.bmm, (16, 256, 256), (16, 256, 256)), accurate=True),
        Case(
            "conv2d 3 x 3, 64 to 64 channels, 16 x 28 x 28",
            one(lambda x, w: F.conv2d(x, w, padding=1), (16, 64, 28, 28), (64, 64, 3, 3)),
            accurate=True,
        ),
        Case("sum of rows, 1024 x 1024", one(lambda x: x.sum(1), square), 3.0),
        Case("sum of rows, 8192 x 1024", one(lambda x: x.sum(1), (8192, 1024)), 3.0),
        Case("sum of columns, 1024 x 1024", one(lambda x: x.sum(0), square), 3.0),
        Case("sum of all, 1024 x 1024", one(torch.sum, square), 3.0),
        Case("sum of all, 8192 x 1024", one(torch.sum, (8192, 1024)), 3.0),
        Case("exp, 1024 x 1024", one(torch.exp, square), 3.0),
        Case("gelu, 1024 x 1024", one(F.gelu, square)),
        Case("softmax, 1024 x 1024", one(lambda x: x.softmax(-1), square)),
        Case("layer norm, 1024 x 1024", one(lambda x, w, b: F.layer_norm(x, (1024,), w, b), square, (1024,), (1024,))),
        cross_entropy(1024, 1000),
        attention(8, 512, 64),
        embedding_backward(5000, 256, 4096),
    ]
