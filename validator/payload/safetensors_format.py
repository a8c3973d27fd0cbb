"""safetensors, read strictly: https://github.com/huggingface/safetensors#format.

Our own pass, because the library takes a header of 67 MB with a million empty tensors (7 s, 1 GB) and lets the last
of two equal names win. Here the header is at most 1 MiB, names are exactly the schema's, offsets follow each other
without gap or overlap from the first byte to the last, and every size is recomputed from dtype and shape.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from validator import strict_json
from validator.payload.errors import Malformed
from validator.payload.schema import (
    DTYPES,
    TARGETS,
    Array,
    Field,
    Parsed,
    Schema,
    check_bytes,
    check_records,
    check_values,
)

MAX_HEADER = 1 << 20
_LENGTH = 8
_METADATA = "__metadata__"
_DEPTH = 3  # the header, its entries, and their lists
_TAGS = {"float32": "F32", "uint8": "U8", "int32": "I32", "int64": "I64"}


def encode_safetensors(inputs: Array | Mapping[str, Array], targets: Array | None = None) -> bytes:
    """The canonical payload of these records: one byte string for equal values.

    `inputs` is the one field `inputs`, or fields by name, each `(records, *shape)` of float32, uint8, int32 or int64;
    `targets` is `(records,)` of integers, and left out for sequences of tokens. Larger items first, then by name; -0.0
    is written as 0.0; the header is padded with spaces to 8 bytes, so that every tensor is aligned. Raises ValueError
    for other dtypes.
    """
    named = dict(inputs) if isinstance(inputs, Mapping) else {"inputs": np.asarray(inputs)}
    arrays = {name: _plain(name, np.asarray(array)) for name, array in named.items()}
    if targets is not None:
        arrays[TARGETS] = np.ascontiguousarray(np.asarray(targets).astype("<i8", casting="safe"))
    header, bodies, at = {}, [], 0
    for name, array in sorted(arrays.items(), key=lambda item: (-item[1].dtype.itemsize, item[0])):
        body = array.tobytes()
        offsets = [at, at + len(body)]
        header[name] = {"dtype": _TAGS[array.dtype.name], "shape": list(array.shape), "data_offsets": offsets}
        bodies.append(body)
        at += len(body)
    text = json.dumps(header, separators=(",", ":")).encode("ascii")
    text += b" " * (-len(text) % _LENGTH)
    return len(text).to_bytes(_LENGTH, "little") + text + b"".join(bodies)


def parse_safetensors(data: bytes | bytearray, schema: Schema) -> Parsed:
    """The records, as arrays over `data` itself where aligned. Raises Malformed."""
    check_bytes(len(data), schema)
    length = int.from_bytes(data[:_LENGTH], "little")
    if len(data) < _LENGTH or not 2 <= length <= MAX_HEADER or _LENGTH + length > len(data):
        raise Malformed("header", f"not safetensors: its header must have 2 to {MAX_HEADER} bytes, inside the file")
    header = _read_header(bytes(data[_LENGTH : _LENGTH + length]))
    _check_names(header, schema)
    _check_offsets(header, len(data) - _LENGTH - length)
    records = _records(header, schema)
    start = _LENGTH + length
    arrays = {field.name: _view(data, start, field, header[field.name], records) for field in schema.tensors}
    return check_values(arrays, schema)


def _plain(name: str, array: Array) -> Array:
    if array.dtype.name not in _TAGS:
        raise ValueError(f"{name} is {array.dtype}: convert it to one of {', '.join(_TAGS)} first")
    if array.dtype.kind == "f":
        array = array + np.zeros((), array.dtype)  # -0.0 + 0.0 is 0.0
    return np.ascontiguousarray(array.astype(DTYPES[array.dtype.name], copy=False))


def _read_header(text: bytes) -> dict[str, Any]:
    if not text.startswith(b"{"):
        raise Malformed("header", "not safetensors: the header does not begin with {")
    try:
        found = strict_json.loads(text, _DEPTH, object_pairs_hook=_no_duplicates, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise Malformed("header", "the safetensors header is not valid JSON") from None
    header: dict[str, Any] = found  # type: ignore[assignment]  # begins with "{", so it is an object
    metadata = header.pop(_METADATA, {})
    if type(metadata) is not dict or not all(type(value) is str for value in metadata.values()):
        raise Malformed("header", "the safetensors metadata must map texts to texts")
    return header


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Malformed("header", "the safetensors header names something twice")
    return found


def _refuse_constant(name: str) -> None:
    raise Malformed("header", f"the safetensors header holds {name}")


def _check_names(header: dict[str, Any], schema: Schema) -> None:
    wanted = {field.name for field in schema.tensors}
    if set(header) != wanted:
        raise Malformed("tensor", f"the payload must hold exactly the tensors {', '.join(sorted(wanted))}")
    for name, entry in header.items():
        if type(entry) is not dict or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise Malformed("header", f"tensor {name} must have dtype, shape and data_offsets, nothing else")
        for key in ("shape", "data_offsets"):
            if type(entry[key]) is not list or not all(type(one) is int and 0 <= one < 2**48 for one in entry[key]):
                raise Malformed("header", f"tensor {name}: {key} must be a list of counts")
        if len(entry["data_offsets"]) != 2:
            raise Malformed("header", f"tensor {name}: data_offsets must be two counts")


def _check_offsets(header: dict[str, Any], size: int) -> None:
    at = 0
    for begin, end in sorted(tuple(entry["data_offsets"]) for entry in header.values()):
        if begin != at or end < begin:
            raise Malformed("offsets", "tensors must follow each other without gap or overlap")
        at = end
    if at != size:
        raise Malformed("offsets", f"the tensors take {at} bytes, the file holds {size}")


def _records(header: dict[str, Any], schema: Schema) -> int:
    """The common first axis, after dtype, shape and size of every tensor have been checked."""
    first = schema.tensors[0]
    shape = header[first.name]["shape"]
    if len(shape) != 1 + len(first.shape):
        raise Malformed("shape", f"tensor {first.name} must have {1 + len(first.shape)} axes, records first")
    check_records(shape[0], schema)
    for field in schema.tensors:
        entry = header[field.name]
        if entry["dtype"] != _TAGS[field.dtype]:
            raise Malformed("dtype", f"tensor {field.name} must be {_TAGS[field.dtype]}")
        if entry["shape"] != [shape[0], *field.shape]:
            raise Malformed("shape", f"tensor {field.name} must have the shape {[shape[0], *field.shape]}")
        begin, end = entry["data_offsets"]
        if end - begin != shape[0] * field.row_bytes:
            raise Malformed("offsets", f"tensor {field.name} must take {shape[0] * field.row_bytes} bytes")
    return int(shape[0])


def _view(data: bytes | bytearray, start: int, field: Field, entry: dict[str, Any], records: int) -> Array:
    dtype, shape = DTYPES[field.dtype], (records, *field.shape)
    array = np.frombuffer(data, dtype, count=math.prod(shape), offset=start + entry["data_offsets"][0])
    return np.require(array.reshape(shape), dtype.newbyteorder("="), "A")
