"""Calls whose autograd graph differs between devices or releases, rewritten so that every one records the same.

Below autograd each operator has one rule, but the gradients that meet in a tensor are added in the order of the graph.
A call that is one node on a GPU and five on a CPU adds them in another order: x + norm(x) gives (g + a) + b on one and
g + (a + b) on the other. Only above autograd, where this mode sits, can that be settled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode


def rms_norm(
    input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    """torch's RMS norm in its parts, as the CPU has it; a GPU has one node for it since torch 2.8."""
    shape = tuple(normalized_shape)
    if not shape or input.shape[-len(shape) :] != shape or not input.is_floating_point():
        return functional.rms_norm(input, list(shape), weight, eps)
    square = input.pow(2).mean(tuple(range(-len(shape), 0)), keepdim=True)
    result = input.mul(torch.rsqrt(square.add_(torch.finfo(input.dtype).eps if eps is None else eps)))
    return result if weight is None else result.mul(weight)


_FORMS: Mapping[Callable[..., Any], Callable[..., Any]] = {functional.rms_norm: rms_norm, torch.rms_norm: rms_norm}


class one_graph(TorchFunctionMode):  # noqa: N801  (a place to be in, like exact)
    """Inside, the calls above record the same graph on every device."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        """Call `func`, or the form of it that all devices share."""
        return _FORMS.get(func, func)(*args, **(kwargs or {}))
