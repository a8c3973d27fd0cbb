"""The document of an exported program: names, numbers and lists, read strictly before anything is made of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from validator import strict_json
from validator.families.operators import operator
from validator.influence import InfluenceError

FORMAT, PROGRAM = "poc-program/1", "program"
"""The format, and the name of the program in the metadata of the safetensors file."""

MOST_NODES, MOST_PROGRAM = 20_000, 2**23
"""Nodes, and bytes."""

DTYPES = {"float32": torch.float32, "int64": torch.int64, "bool": torch.bool}
PLACES = {"device", "layout", "pin_memory", "memory_format"}
"""Where and how tensors lie is the node's business."""
_KEYS = {"format", "input", "shape", "dtype", "parameters", "buffers", "nodes", "output"}
_HEADER = 8


@dataclass(frozen=True, slots=True)
class Node:
    """One step: `name` becomes `call(*args, **kwargs)`, whose references are looked up when it runs."""

    name: str
    op: str
    call: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Ref:
    """The result of an earlier node or, with `weight`, a tensor of the file."""

    name: str
    weight: bool


def read_program(data: bytes) -> dict[str, Any]:
    """The program of a file that `read_tensors` has accepted: its keys, and lists of bounded length. Raises
    InfluenceError.
    """
    length = int.from_bytes(data[:_HEADER], "little")
    header = json.loads(data[_HEADER : _HEADER + length])
    text = header.get("__metadata__", {}).get(PROGRAM, "")
    if not 2 <= len(text) <= MOST_PROGRAM:
        raise InfluenceError(
            "the weights hold no program: write them with `validator.families.exported_write.save_program`"
        )
    try:
        document = strict_json.loads(text.encode(), depth=12)
    except (ValueError, RecursionError):
        raise InfluenceError("the program is not JSON") from None
    if not isinstance(document, dict) or set(document) != _KEYS or document["format"] != FORMAT:
        raise InfluenceError(f"the program is not of format {FORMAT}")
    lists = (document["parameters"], document["buffers"], document["nodes"])
    if not all(isinstance(part, list) and len(part) <= MOST_NODES for part in lists):
        raise InfluenceError(f"a program has lists of at most {MOST_NODES} parameters, buffers and nodes")
    return document


def read_node(entry: object) -> Node:
    """One step. Raises InfluenceError on an operator outside the list and on arguments of another kind."""
    if not isinstance(entry, dict) or set(entry) != {"name", "op", "args", "kwargs"}:
        raise InfluenceError("a step of the program has a name, an op, args and kwargs")
    if not isinstance(entry["args"], list) or not isinstance(entry["kwargs"], dict):
        raise InfluenceError("a step's args are a list and its kwargs an object")
    args = tuple(_argument(part) for part in entry["args"])
    kwargs = {key: _argument(part) for key, part in entry["kwargs"].items()}
    if placed := kwargs.keys() & PLACES:
        raise InfluenceError(f"a program does not choose {', '.join(sorted(placed))}")
    return Node(read_text(entry["name"]), read_text(entry["op"]), operator(read_text(entry["op"])), args, kwargs)


def _argument(value: object) -> Any:  # noqa: ANN401 - whatever an operator takes
    if value is None or type(value) in (bool, int):
        return value
    if isinstance(value, list):
        return [_argument(part) for part in value]
    kind, inner = next(iter(value.items())) if isinstance(value, dict) and len(value) == 1 else ("", None)
    if isinstance(inner, str) and len(inner) <= 256:
        if kind in ("node", "weight"):
            return Ref(inner, weight=kind == "weight")
        if kind == "text":
            return inner
        if kind == "dtype" and inner in DTYPES:
            return DTYPES[inner]
        if kind == "real":
            return _real(inner)
    raise InfluenceError(f"the program has an argument of no known kind: {str(value)[:80]}")


def _real(text: str) -> float:
    try:
        return float.fromhex(text)
    except (ValueError, OverflowError):
        raise InfluenceError(f"the program has a number that is none: {text[:40]!r}") from None


def references(node: Node) -> list[Ref]:
    """All that a step's arguments refer to."""

    def walk(part: object) -> list[Ref]:
        if isinstance(part, Ref):
            return [part]
        return [ref for inner in part for ref in walk(inner)] if isinstance(part, list) else []

    return walk([*node.args, *node.kwargs.values()])


def read_text(value: object) -> str:
    """A name. Raises InfluenceError."""
    if not isinstance(value, str) or not 1 <= len(value) <= 256:
        raise InfluenceError(f"the program has a name that is none: {str(value)[:40]!r}")
    return value
