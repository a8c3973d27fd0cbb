"""Rules that a source is converted by, and what comes out of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from validator.actions.convert import Converted, Options
from validator.actions.convert.payload import described, make_payload
from validator.manifest import PayloadRules
from validator.payload import Parsed
from validator.payload.worker import PARSERS
from validator.stages.open import payload_schema

TABLE: dict[str, Any] = {
    "format": "safetensors",
    "dtype": "float32",
    "shape": [2],
    "minimum": "0",
    "maximum": "1",
    "classes": 3,
}
TEXT: dict[str, Any] = {
    "task": "next_token",
    "format": "safetensors",
    "dtype": "int64",
    "shape": [8],
    "minimum": "0",
    "maximum": "255",
    "classes": 256,
}


def rules(base: dict[str, Any] = TABLE, *, least: int = 1, most: int = 8, **changes: Any) -> PayloadRules:
    limits = {"envelope_bytes": 1 << 20, "min_records": least, "max_records": most}
    return PayloadRules.model_validate({"payload": {**base, **changes}, "limits": limits})


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def convert(source: Path, by: PayloadRules, options: Options | None = None) -> Converted:
    """`convert` without the worker that parses the result once more, which would take most of the time of a test."""
    payload, dropped = make_payload(source, by, options or Options())
    return described(payload, PARSERS[by.payload.format](payload, payload_schema(by)), dropped)


def parsed(converted: Converted, by: PayloadRules) -> Parsed:
    return PARSERS[by.payload.format](converted.payload, payload_schema(by))


def inputs(converted: Converted, by: PayloadRules) -> np.ndarray:
    return parsed(converted, by).arrays["inputs"]


def lines(converted: Converted) -> list[dict[str, Any]]:
    return [json.loads(line) for line in converted.payload.splitlines()]
