"""Parameters of the estimators: checked once, and written without printing a float."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import torch
from torch import Tensor

from validator.influence.errors import InfluenceError

VERSION = 3
"""Changes with every change of a score's bits; part of the manifest and of every probe file."""

Seed = int | bytes

_HEADER_BYTES, _HEADER_BRACKETS = 16_384, 8
"""Bounds on an untrusted header before it is parsed: deep nesting can overflow the parser's stack."""


def seed_bytes(seed: object) -> bytes:
    """A seed as bytes: bytes as they are (at most 64), an integer as 32 bytes big-endian. Raises InfluenceError
    otherwise.
    """
    if isinstance(seed, bytes):
        if not 1 <= len(seed) <= 64:
            raise InfluenceError(f"a seed has 1 to 64 bytes, not {len(seed)}")
        return seed
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**256:
        raise InfluenceError("a seed is bytes or an integer in 0 .. 2**256 - 1")
    return seed.to_bytes(32, "big")


def limited(key: str, default: int | float, least: int | float, most: int | float, *, later: bool = False) -> Any:  # noqa: ANN401 - stands for the value
    """A dataclass field with a default and a closed range; the type of the default is the type of the field. `later`:
    it came when files without it were about, so a header names it only where it is not at its default.
    """
    metadata = {"range": (key, type(default), least, most), "later": later}
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """Base of an estimator's parameters. Raises InfluenceError, naming the parameter and its range, on a value out of
    it.
    """

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            key, kind, least, most = field.metadata["range"]
            value = getattr(self, field.name)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or (kind is int and not isinstance(value, int)) or not least <= value <= most:
                raise InfluenceError(
                    f"{key} must be {'an integer' if kind is int else 'a number'} in {least} .. {most}, not {value!r}"
                )
            object.__setattr__(self, field.name, kind(value))


def make_settings(kind: type[Any], params: dict[str, Any]) -> Any:  # noqa: ANN401 - returns an instance of `kind`
    """`kind(**params)`, refusing unknown names in one line."""
    known = [field.name for field in dataclasses.fields(kind)]
    unknown = sorted(set(params) - set(known))
    if unknown:
        raise InfluenceError(f"unknown parameter {', '.join(unknown)}; this estimator takes {', '.join(known)}")
    return kind(**params)


def write_header(estimator: str, seed: bytes, problem: bytes, per_query: bool, settings: Settings) -> Tensor:
    """What a probe file says about itself: canonical JSON as uint8 (m,). Reals are hexadecimal, so that nothing is
    rounded.
    """
    given = {
        field.name: getattr(settings, field.name)
        for field in dataclasses.fields(settings)
        if not (field.metadata["later"] and getattr(settings, field.name) == field.default)
    }
    params = {key: value.hex() if isinstance(value, float) else value for key, value in given.items()}
    header = {
        "estimator": estimator,
        "params": params,
        "per_query": per_query,
        "problem": problem.hex(),
        "seed": seed.hex(),
        "version": VERSION,
    }
    return torch.tensor(list(json.dumps(header, sort_keys=True, separators=(",", ":")).encode()), dtype=torch.uint8)


def read_header(tensor: Tensor) -> dict[str, Any]:
    """The inverse of `write_header`; parameters are numbers again. Raises InfluenceError on anything else."""
    try:
        text = bytes(tensor.tolist())
        if len(text) > _HEADER_BYTES or text.count(b"{") + text.count(b"[") > _HEADER_BRACKETS:
            raise ValueError("too long, or nested too deeply")
        header = json.loads(text)
        params = {str(key): _number(value) for key, value in header["params"].items()}
        return {
            "estimator": str(header["estimator"]),
            "params": params,
            "per_query": header["per_query"] is True,
            "problem": bytes.fromhex(header["problem"]),
            "seed": bytes.fromhex(header["seed"]),
            "version": int(header["version"]),
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InfluenceError(f"the probe file has no readable header: {error}") from error


def _number(value: object) -> int | float:
    number = float.fromhex(value) if isinstance(value, str) else value
    if not isinstance(number, int | float) or not math.isfinite(number):
        raise InfluenceError(f"a parameter is not a finite number: {value!r}")
    return number
