"""Weights as safetensors: what is written, and what is accepted."""

from __future__ import annotations

import math

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from validator.exact.random import Stream
from validator.influence.errors import InfluenceError

Kinds = dict[str, tuple[torch.dtype, tuple[int, ...]]]
"""Dtype and shape of each tensor of a file, by name."""


def initialise(module: nn.Module, stream: Stream) -> None:
    """Fill the parameters in the order of `named_parameters`: weights normal with variance 1 / fan-in, biases zero,
    scales of layer norms one.
    """
    scales = {id(part.weight) for part in module.modules() if isinstance(part, nn.LayerNorm)}
    with torch.no_grad():
        for _, parameter in module.named_parameters():
            if id(parameter) in scales:
                parameter.fill_(1)
            elif parameter.dim() < 2:
                parameter.zero_()
            else:
                scale = math.sqrt(1 / math.prod(parameter.shape[1:]))
                parameter.copy_(stream.normal(tuple(parameter.shape)) * scale)


def dump_weights(module: nn.Module) -> bytes:
    """Parameters and buffers as safetensors; a tensor that has several names is written under the first."""
    tensors, _ = _named(module)
    return bytes(save({name: tensor.detach().contiguous() for name, tensor in tensors.items()}))


def load_weights(module: nn.Module, data: bytes) -> None:
    """Fill the module from safetensors. Raises InfluenceError unless names, shapes and dtypes agree and all values are
    finite.

    A tensor that has several names (a head tied to the embedding) is given under the first; others may be left out,
    and must hold the same values.
    """
    put_weights(module, read_tensors(data))


def put_weights(module: nn.Module, found: dict[str, Tensor]) -> None:
    """`load_weights` from tensors that have been read already."""
    tensors, others = _named(module)
    for other, first in others.items():
        if other in found and first in found and not torch.equal(found[other], found[first]):
            raise InfluenceError(f"tensor {other!r} must equal {first!r}, to which this model ties it")
    checked = _checked(
        {name: tensor for name, tensor in found.items() if name not in others},
        {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()},
    )
    module.load_state_dict(checked | {other: checked[first] for other, first in others.items()})


def load_tensors(data: bytes, expected: Kinds) -> dict[str, Tensor]:
    """Read safetensors that hold exactly the `expected` names, dtypes and shapes, all values finite. Raises
    InfluenceError otherwise.
    """
    return _checked(read_tensors(data), expected)


def read_tensors(data: bytes) -> dict[str, Tensor]:
    """Whatever a safetensors file holds. Raises InfluenceError when it is not one."""
    try:
        return dict(load(data))
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise InfluenceError(f"not a safetensors file: {error}") from error


def _checked(found: dict[str, Tensor], expected: Kinds) -> dict[str, Tensor]:
    kinds: Kinds = {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in found.items()}
    if kinds != expected:
        wrong = sorted(name for name in kinds.keys() | expected.keys() if kinds.get(name) != expected.get(name))
        raise InfluenceError(f"tensors that do not fit by name, dtype or shape: {', '.join(wrong)[:200]}")
    for name, tensor in found.items():
        if not bool(torch.isfinite(tensor).all()):
            raise InfluenceError(f"tensor {name!r} holds NaN or infinity")
    return found


def _named(module: nn.Module) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Parameters and buffers by their first names, and the first name of every other name."""
    tensors: dict[str, Tensor] = {}
    others: dict[str, str] = {}
    firsts: dict[int, str] = {}
    for name, tensor in module.state_dict(keep_vars=True).items():
        first = firsts.setdefault(id(tensor), name)
        if first == name:
            tensors[name] = tensor
        else:
            others[name] = first
    return tensors, others
