"""Built-in model families: a name and a small configuration instead of code, weights as safetensors.

- `mlp`: inputs are flattened; `{"inputs": int, "hidden": [int, ...], "classes": int, "activation": name}`.
- `convnet`: 3 x 3 convolutions of stride 2, each halving the image (Springenberg et al. 2015, "all convolutional"),
  then one linear layer; `{"channels": int, "height": int, "width": int, "filters": [int, ...], "classes": int,
  "activation": name}`.
- `gpt`: a decoder-only transformer for next-token prediction (see gpt.py); `{"vocabulary": int, "context": int,
  "width": int, "heads": int, "layers": int}`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping

import torch
from torch import nn

from validator.influence.errors import InfluenceError
from validator.influence.models import gpt
from validator.influence.models.config import Config, activation, count, counts
from validator.influence.models.weights import (
    Kinds,
    dump_weights,
    initialise,
    load_tensors,
    load_weights,
    put_weights,
    read_tensors,
)

__all__ = [
    "MOST_BYTES",
    "Config",
    "Kinds",
    "build",
    "check_size",
    "dump_weights",
    "initialise",
    "load_tensors",
    "load_weights",
    "put_weights",
    "read_tensors",
]

MOST_BYTES = 2**34
"""Parameters and buffers of one model together."""


def build(family: str, config: Config) -> nn.Module:
    """A module of `family`, its parameters zero until `initialise` or `load_weights` fills them.

    Raises InfluenceError, naming the key, on an unknown family, a missing, unknown or out-of-range entry, and on a
    model of more than MOST_BYTES, of which nothing is allocated.
    """
    if family not in _FAMILIES:
        raise InfluenceError(f"no model family is called {family!r}; there are {', '.join(sorted(_FAMILIES))}")
    keys, make = _FAMILIES[family]
    if set(config) != keys:
        raise InfluenceError(f"the configuration of {family!r} must have exactly the keys {', '.join(sorted(keys))}")
    check_size(lambda: make(config))
    module = make(config)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    return module


def check_size(make: Callable[[], nn.Module]) -> None:
    """Raises InfluenceError when the module that `make` makes takes more than MOST_BYTES. It is made without storage,
    so only its number of layers must have been bounded before.
    """
    try:
        with torch.device("meta"):
            module = make()
    except (RuntimeError, OverflowError) as error:
        raise InfluenceError(f"the model is too large to be built: {str(error).splitlines()[0]}") from error
    size = sum(t.numel() * t.element_size() for t in itertools.chain(module.parameters(), module.buffers()))
    if size > MOST_BYTES:
        raise InfluenceError(f"the model would take {size} bytes, at most {MOST_BYTES} are allowed: make it smaller")


def _mlp(config: Config) -> nn.Module:
    widths = [count(config, "inputs"), *counts(config, "hidden"), count(config, "classes")]
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in itertools.pairwise(widths[:-1]):
        layers += [nn.Linear(before, after), activation(config)]
    return nn.Sequential(*layers, nn.Linear(widths[-2], widths[-1]))


def _convnet(config: Config) -> nn.Module:
    channels, height, width = count(config, "channels"), count(config, "height"), count(config, "width")
    layers: list[nn.Module] = []
    for filters in counts(config, "filters"):
        layers += [nn.Conv2d(channels, filters, 3, stride=2, padding=1), activation(config)]
        channels, height, width = filters, (height + 1) // 2, (width + 1) // 2
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * height * width, count(config, "classes")))


_FAMILIES: Mapping[str, tuple[set[str], Callable[[Config], nn.Module]]] = {
    "mlp": ({"inputs", "hidden", "classes", "activation"}, _mlp),
    "convnet": ({"channels", "height", "width", "filters", "classes", "activation"}, _convnet),
    "gpt": (gpt.KEYS, gpt.gpt),
}
