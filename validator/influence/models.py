"""Built-in model families: a name and a small configuration instead of code, weights as safetensors.

- `mlp`: inputs are flattened; `{"inputs": int, "hidden": [int, ...], "classes": int, "activation": name}`.
- `convnet`: 3 x 3 convolutions of stride 2, each halving the image (Springenberg et al. 2015, "all convolutional"),
  then one linear layer; `{"channels": int, "height": int, "width": int, "filters": [int, ...], "classes": int,
  "activation": name}`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from validator.exact.random import Stream
from validator.influence.errors import InfluenceError

Kinds = dict[str, tuple[torch.dtype, tuple[int, ...]]]
"""Dtype and shape of each tensor of a file, by name."""

Config = Mapping[str, int | str | Sequence[int]]

_ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU}
_WIDEST = 2**20
_DEEPEST = 64


def build(family: str, config: Config) -> nn.Module:
    """A module of `family`, its parameters zero until `initialise` or `load_weights` fills them.

    Raises InfluenceError, naming the key, on an unknown family, a missing, unknown or out-of-range entry.
    """
    if family not in _FAMILIES:
        raise InfluenceError(f"no model family is called {family!r}; there are {', '.join(sorted(_FAMILIES))}")
    keys, make = _FAMILIES[family]
    if set(config) != keys:
        raise InfluenceError(f"the configuration of {family!r} must have exactly the keys {', '.join(sorted(keys))}")
    module = make(config)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    return module


def initialise(module: nn.Module, stream: Stream) -> None:
    """Fill the parameters in the order of `named_parameters`: weights normal with variance 1 / fan-in, biases zero."""
    with torch.no_grad():
        for _, parameter in module.named_parameters():
            if parameter.dim() < 2:
                parameter.zero_()
            else:
                scale = math.sqrt(1 / math.prod(parameter.shape[1:]))
                parameter.copy_(stream.normal(tuple(parameter.shape)) * scale)


def dump_weights(module: nn.Module) -> bytes:
    """Parameters and buffers as safetensors."""
    return bytes(save({name: tensor.detach().contiguous() for name, tensor in module.state_dict().items()}))


def load_weights(module: nn.Module, data: bytes) -> None:
    """Fill the module from safetensors. Raises InfluenceError unless names, shapes and dtypes agree and all values are
    finite.
    """
    state = module.state_dict()
    found = load_tensors(data, {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in state.items()})
    module.load_state_dict(found)


def load_tensors(data: bytes, expected: Kinds) -> dict[str, Tensor]:
    """Read safetensors that hold exactly the `expected` names, dtypes and shapes, all values finite. Raises
    InfluenceError otherwise.
    """
    found = read_tensors(data)
    kinds: Kinds = {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in found.items()}
    if kinds != expected:
        wrong = sorted(name for name in kinds.keys() | expected.keys() if kinds.get(name) != expected.get(name))
        raise InfluenceError(f"tensors that do not fit by name, dtype or shape: {', '.join(wrong)[:200]}")
    for name, tensor in found.items():
        if not bool(torch.isfinite(tensor).all()):
            raise InfluenceError(f"tensor {name!r} holds NaN or infinity")
    return found


def read_tensors(data: bytes) -> dict[str, Tensor]:
    """Whatever a safetensors file holds. Raises InfluenceError when it is not one."""
    try:
        return dict(load(data))
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise InfluenceError(f"not a safetensors file: {error}") from error


def _mlp(config: Config) -> nn.Module:
    widths = [_count(config, "inputs"), *_counts(config, "hidden"), _count(config, "classes")]
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in itertools.pairwise(widths[:-1]):
        layers += [nn.Linear(before, after), _activation(config)]
    return nn.Sequential(*layers, nn.Linear(widths[-2], widths[-1]))


def _convnet(config: Config) -> nn.Module:
    channels, height, width = _count(config, "channels"), _count(config, "height"), _count(config, "width")
    layers: list[nn.Module] = []
    for filters in _counts(config, "filters"):
        layers += [nn.Conv2d(channels, filters, 3, stride=2, padding=1), _activation(config)]
        channels, height, width = filters, (height + 1) // 2, (width + 1) // 2
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * height * width, _count(config, "classes")))


_FAMILIES: Mapping[str, tuple[set[str], Callable[[Config], nn.Module]]] = {
    "mlp": ({"inputs", "hidden", "classes", "activation"}, _mlp),
    "convnet": ({"channels", "height", "width", "filters", "classes", "activation"}, _convnet),
}


def _activation(config: Config) -> nn.Module:
    name = config["activation"]
    if not isinstance(name, str) or name not in _ACTIVATIONS:
        raise InfluenceError(f"no activation is called {name!r}; there are {', '.join(_ACTIVATIONS)}")
    return _ACTIVATIONS[name]()


def _count(config: Config, key: str) -> int:
    return _bounded(key, config[key])


def _counts(config: Config, key: str) -> list[int]:
    value = config[key]
    if isinstance(value, str | int) or len(value) > _DEEPEST:
        raise InfluenceError(f"{key!r} must be a list of at most {_DEEPEST} widths")
    return [_bounded(key, item) for item in value]


def _bounded(key: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _WIDEST:
        raise InfluenceError(f"{key!r} must be an integer in 1..{_WIDEST}, not {value!r}")
    return value
