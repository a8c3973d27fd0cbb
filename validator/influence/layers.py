"""The layers of a model that are matrices: which they are, what goes into them, and how their parameters lie."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from validator.influence.problem import Weights


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """An nn.Linear or nn.Conv2d as a matrix (outputs, inputs); a bias is its last column."""

    name: str
    module: nn.Linear | nn.Conv2d
    weight: str
    bias: str | None

    @property
    def outputs(self) -> int:
        """Rows of the matrix."""
        return int(self.module.weight.shape[0])

    @property
    def inputs(self) -> int:
        """Columns of the matrix, that of the bias included."""
        return self.module.weight[0].numel() + (self.bias is not None)

    def names(self) -> list[str]:
        """The parameters it consists of."""
        return [self.weight] if self.bias is None else [self.weight, self.bias]

    def join(self, given: Weights) -> Tensor:
        """A batch of the layer's parameters as (batch, outputs, inputs)."""
        weight = given[self.weight].flatten(2)
        return weight if self.bias is None else torch.cat([weight, given[self.bias].unsqueeze(2)], 2)

    def split(self, joined: Tensor) -> Weights:
        """The inverse of `join`."""
        shape = (len(joined), *self.module.weight.shape)
        if self.bias is None:
            return {self.weight: joined.reshape(shape)}
        return {self.weight: joined[..., :-1].reshape(shape), self.bias: joined[..., -1]}

    def patches(self, x: Tensor, count: int) -> Tensor:
        """What the matrix is multiplied with, (count, positions, inputs): 1 appended for the bias; records lead."""
        conv = self.module
        columns = _patches(x, conv) if isinstance(conv, nn.Conv2d) else x.reshape(count, -1, x.shape[-1])
        return columns if self.bias is None else torch.cat([columns, torch.ones_like(columns[..., :1])], 2)

    def positions(self, slopes: Tensor, count: int) -> Tensor:
        """Slopes in the layer's output as (count, positions, outputs); records lead."""
        if isinstance(self.module, nn.Conv2d):
            return slopes.flatten(2).mT
        return slopes.reshape(count, -1, slopes.shape[-1])


class Taps:
    """Inside, what goes into and comes out of each layer in a pass of `module` is kept by the layer's name."""

    def __init__(self, module: nn.Module, layers: list[Layer]) -> None:
        self.inputs: dict[str, Tensor] = {}
        self.outputs: dict[str, Tensor] = {}
        self.calls: Counter[str] = Counter()
        self._layers = layers
        self._handles: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> Self:
        for layer in self._layers:

            def keep(module: nn.Module, args: tuple[Tensor, ...], output: Tensor, name: str = layer.name) -> Tensor:
                self.calls[name] += 1
                self.inputs[name], self.outputs[name] = args[0].detach(), output
                # An activation may work in place; what is kept must stay the layer's own output.
                return output.clone()

            self._handles.append(layer.module.register_forward_hook(keep))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()


def find_layers(module: nn.Module, one: Tensor) -> list[Layer]:
    """Layers of `module`, by name, that share no weight and that a pass calls once, on rows that belong to records.

    `one` is the input of a record, (1, ...).
    """
    owners = Counter(id(p) for part in module.modules() for p in part.parameters(recurse=False))
    found = []
    for name, part in module.named_modules():
        if isinstance(part, nn.Linear | nn.Conv2d) and _plain(part) and owners[id(part.weight)] == 1:
            dot = f"{name}." if name else ""
            free = part.bias is not None and part.bias.requires_grad and owners[id(part.bias)] == 1
            found.append(Layer(name, part, f"{dot}weight", f"{dot}bias" if free else None))
    with Taps(module, found) as taps, torch.no_grad():
        module(torch.cat([one, one]))
    return [layer for layer in found if taps.calls[layer.name] == 1 and len(taps.inputs[layer.name]) % 2 == 0]


def _patches(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """What a convolution multiplies with its weight at each place, (n, places, channels * height * width)."""
    assert not isinstance(conv.padding, str)
    (high, wide), (down, right) = conv.padding, conv.dilation
    windows = pad(x, (wide, wide, high, high))
    for dim, size, apart, stride in zip((2, 3), conv.kernel_size, (down, right), conv.stride, strict=True):
        windows = windows.unfold(dim, (size - 1) * apart + 1, stride)[..., ::apart]
    return windows.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)


def _plain(part: nn.Linear | nn.Conv2d) -> bool:
    if not part.weight.requires_grad:
        return False
    if type(part) is nn.Conv2d:
        return part.groups == 1 and part.padding_mode == "zeros" and not isinstance(part.padding, str)
    return type(part) is nn.Linear
