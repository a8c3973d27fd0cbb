"""Entries of a model's configuration: read by name, bounded before anything is made from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import nn

from validator.influence.errors import InfluenceError

Config = Mapping[str, int | str | Sequence[int]]

WIDEST = 2**20
DEEPEST = 64

_ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU}


def activation(config: Config) -> nn.Module:
    """The activation that `config` names."""
    name = config["activation"]
    if not isinstance(name, str) or name not in _ACTIVATIONS:
        raise InfluenceError(f"no activation is called {name!r}; there are {', '.join(_ACTIVATIONS)}")
    return _ACTIVATIONS[name]()


def count(config: Config, key: str, most: int = WIDEST) -> int:
    """The integer at `key`, in 1 .. `most`."""
    return _bounded(key, config[key], most)


def counts(config: Config, key: str) -> list[int]:
    """The list of widths at `key`."""
    value = config[key]
    if isinstance(value, str | int) or len(value) > DEEPEST:
        raise InfluenceError(f"{key!r} must be a list of at most {DEEPEST} widths")
    return [_bounded(key, item, WIDEST) for item in value]


def _bounded(key: str, value: object, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise InfluenceError(f"{key!r} must be an integer in 1..{most}, not {value!r}")
    return value
