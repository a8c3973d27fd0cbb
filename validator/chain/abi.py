"""From decoded ABI values to the types of this room: bytes as bytes, addresses checksummed, structs as dataclasses."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import astuple, fields, is_dataclass
from typing import Any

from eth_utils.address import to_checksum_address

from validator.chain.types import (
    Attestation,
    Contribution,
    Parameters,
    Phase,
    RoundInfo,
    ScoreLeaf,
    Validator,
)

STRUCTS: Mapping[str, type[Any]] = {
    "struct Attestation": Attestation,
    "struct ScoreLeaf": ScoreLeaf,
    "struct Parameters": Parameters,
    "struct RoundInfo": RoundInfo,
    "struct Validator": Validator,
    "struct Contribution": Contribution,
}


def snake(name: str) -> str:
    """The Python name of a Solidity one: ``hpkeKey`` -> ``hpke_key``, ``payable_`` -> ``payable``."""
    return re.sub(r"(?<!^)([A-Z])", r"_\1", name.strip("_")).lower()


def type_of(component: Mapping[str, Any]) -> str:
    """The canonical type of an ABI component, tuples written out: ``(uint64,address)[]``."""
    kind = str(component["type"])
    if not kind.startswith("tuple"):
        return kind
    inner = ",".join(type_of(part) for part in component["components"])
    return f"({inner}){kind.removeprefix('tuple')}"


def plain(value: Any, component: Mapping[str, Any]) -> Any:  # noqa: ANN401 - an ABI value can be anything
    """``value``, decoded by eth_abi for ``component`` of an ABI, in this room's types. Unknown structs become dicts."""
    kind = str(component["type"])
    if kind.endswith("]"):
        element = {**component, "type": kind[: kind.rindex("[")]}
        return tuple(plain(item, element) for item in value)
    if kind == "tuple":
        return _struct(value, component)
    if kind == "address":
        return str(to_checksum_address(value))
    if component.get("internalType", "").endswith("Phase"):
        return Phase(value)
    return bytes(value) if kind.startswith("bytes") else value


def _struct(value: Sequence[Any], component: Mapping[str, Any]) -> Any:  # noqa: ANN401
    parts = component["components"]
    values = {snake(part["name"]): plain(item, part) for part, item in zip(parts, value, strict=True)}
    # "struct ScoringRounds.RoundInfo" and "struct RoundInfo" are the same to us.
    name = "struct " + component.get("internalType", "").removeprefix("struct ").rsplit(".", 1)[-1]
    kind = STRUCTS.get(name)
    if kind is None:
        return values
    wanted = {field.name for field in fields(kind)}
    return kind(**{name: item for name, item in values.items() if name in wanted})


def argument(value: object) -> object:
    """``value`` as web3 encodes it: dataclasses become tuples in field order."""
    return astuple(value) if is_dataclass(value) and not isinstance(value, type) else value
