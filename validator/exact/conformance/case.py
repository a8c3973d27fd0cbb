"""A case: one small computation that exact() supports, with inputs of its own from a named stream."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from validator.exact.random import Stream


@dataclass(frozen=True, slots=True)
class Case:
    """`run` maps float tensors of `shapes` to one, on whatever device they are.

    `rowwise`: row i of the result depends on row i of the first input only. `positive`: inputs are above zero.
    `backward`: gradients belong to the outcome. `tolerance`: largest error relative to the largest value, against plain
    float64. `needs`: dotted names under `torch` without which the case cannot be asked: `nn.functional.rms_norm`.
    """

    name: str
    run: Callable[..., Tensor]
    shapes: tuple[tuple[int, ...], ...]
    rowwise: bool = False
    positive: bool = False
    backward: bool = True
    tolerance: float = 2e-6
    needs: tuple[str, ...] = ()

    def inputs(self, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> list[Tensor]:
        """float32 numbers in `dtype`, the same in every process and on every device."""
        drawn = _drawn(b"cases", self.name, self.shapes)
        return [(d.abs() + 0.01 if self.positive else d.clone()).to(device, dtype) for d in drawn]

    def outcome(self, inputs: list[Tensor]) -> list[Tensor]:
        """The result, and the gradients of its product with a fixed tensor."""
        leaves = [x.detach().requires_grad_(self.backward) for x in inputs]
        out = self.run(*leaves)
        if not self.backward:
            return [out]
        (cotangent,) = _drawn(b"cotangent", self.name, (tuple(out.shape),))
        return [out.detach(), *torch.autograd.grad(out, leaves, cotangent.to(out))]

    def missing(self) -> str | None:
        """The first of `needs` that this torch has not."""
        return next((name for name in self.needs if not _known(name)), None)


@functools.lru_cache(maxsize=8)
def _drawn(key: bytes, name: str, shapes: tuple[tuple[int, ...], ...]) -> list[Tensor]:
    """Draws of one stream, one after the other: a case is asked several times in a row, and drawing takes longest."""
    stream = Stream(key, name)
    return [stream.normal(shape) for shape in shapes]


def _known(name: str) -> bool:
    place: object = torch
    for part in name.split("."):
        if not hasattr(place, part):
            return False
        place = getattr(place, part)
    return True
