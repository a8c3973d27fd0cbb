"""JSON Lines: one record a line, `{"inputs": [...], "target": 3}`, keys as the schema names its fields; for sequences
`{"inputs": [...]}` with the tokens alone, without padding.

msgspec decodes each line into the schema's type: no other field, no NaN, no number out of range, no depth but the
schema's. Decimal text is rounded to the nearest double, then to float32, alike on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
import numpy as np

from validator.payload.errors import Malformed
from validator.payload.schema import (
    DTYPES,
    LEAST_TOKENS,
    PADDING,
    TARGETS,
    Array,
    Field,
    Parsed,
    Schema,
    check_bytes,
    check_records,
    check_values,
    padded_limit,
)

MAX_LINE = 1 << 20


def parse_jsonl(data: bytes | bytearray, schema: Schema) -> Parsed:
    """The records in the order of their lines. Raises Malformed."""
    check_bytes(len(data), schema)
    body = bytes(data)
    records = body.count(b"\n") + (not body.endswith(b"\n"))
    check_records(records, schema)
    _check_length(len(body), records, schema)
    decoder = msgspec.json.Decoder(_record_type(schema))
    blank = PADDING if schema.is_sequence else 0
    arrays = {one.name: np.full((records, *one.shape), blank, DTYPES[one.dtype]) for one in schema.tensors}
    for number, line in enumerate(_lines(body)):
        record = _decode(decoder, line, number + 1, len(schema.tensors))
        if schema.is_sequence:
            arrays["inputs"][number, : len(record.inputs)] = record.inputs
            continue
        for field in schema.fields:
            arrays[field.name][number] = _values(getattr(record, field.name), field, number + 1)
        arrays[TARGETS][number] = record.target
    return check_values(
        {name: array.astype(array.dtype.newbyteorder("="), copy=False) for name, array in arrays.items()}, schema
    )


def _lines(body: bytes) -> Iterator[bytes]:
    """One at a time: a list of short lines would take many times their bytes."""
    end = -1
    while end + 1 < len(body) or end < 0:  # no bytes are one empty line
        start, end = end + 1, body.find(b"\n", end + 1)
        end = len(body) if end < 0 else end
        yield body[start:end]


def encode_jsonl(inputs: Array, targets: Array | None = None) -> bytes:
    """The same records as lines: `inputs` `(records, ...)`, and `targets` `(records,)` unless they are sequences, whose
    padding is left out. Real numbers are written in full, so that they are read back to the bit.
    """
    if targets is None:
        return b"".join(msgspec.json.encode({"inputs": row[row != PADDING].tolist()}) + b"\n" for row in inputs)
    pairs = zip(inputs, targets.tolist(), strict=True)
    return b"".join(msgspec.json.encode({"inputs": row.tolist(), "target": one}) + b"\n" for row, one in pairs)


def _check_length(size: int, records: int, schema: Schema) -> None:
    """Raise Malformed before memory is taken for records that the text cannot hold.

    Every value takes at least two bytes, so a file of empty lines claims no memory that it does not fill. Sequences are
    padded, so those of a few tokens would: padded they must keep to a limit of their own.
    """
    if schema.is_sequence:
        padded, most = records * schema.fields[0].row_bytes, padded_limit(size, schema)
        if padded > most:
            raise Malformed("bytes", f"{size} bytes of sequences take {padded} padded: at most {most} are allowed")
    elif size < records * sum(2 * one.values for one in schema.tensors):
        raise Malformed("line", f"{size} bytes are too few for {records} lines of the schema's shape")


def _decode(decoder: msgspec.json.Decoder[Any], line: bytes, number: int, keys: int) -> Any:  # noqa: ANN401
    if len(line) > MAX_LINE:
        raise Malformed("line", f"line {number} has {len(line)} bytes: at most {MAX_LINE} are allowed")
    # Records hold only numbers: no escapes, and two quotes a key. So no key can hide, or come
    # twice (the last would win).
    if b"\\" in line or line.count(b'"') != 2 * keys:
        raise Malformed("line", f"line {number} must hold {keys} keys and only numbers")
    try:
        return decoder.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed("line", f"line {number} does not fit the schema: {str(error)[:120]}") from None


def _values(value: Any, field: Field, number: int) -> Any:  # noqa: ANN401 - nested lists of numbers
    with np.errstate(over="ignore"):  # becomes infinity, which check_values refuses
        array = np.asarray(value, dtype=np.float64 if field.dtype == "float32" else np.int64)
        if array.shape != field.shape:
            raise Malformed("shape", f"line {number}: {field.name} must have the shape {list(field.shape)}")
        return array.astype(DTYPES[field.dtype])


def _record_type(schema: Schema) -> type[msgspec.Struct]:
    if schema.is_sequence:
        token = Annotated[int, msgspec.Meta(ge=0, le=schema.classes - 1)]
        tokens = Annotated[list[token], msgspec.Meta(min_length=LEAST_TOKENS, max_length=schema.fields[0].values)]
        return msgspec.defstruct("Record", [("inputs", tokens)], forbid_unknown_fields=True)
    fields: list[tuple[str, Any]] = [(field.name, _field_type(field)) for field in schema.fields]
    target = Annotated[int, msgspec.Meta(ge=0, le=schema.classes - 1)]
    return msgspec.defstruct("Record", [*fields, ("target", target)], forbid_unknown_fields=True)


def _field_type(field: Field) -> Any:  # noqa: ANN401 - a type made at run time
    """Nested lists of the exact lengths, with the range at the bottom."""
    kind: Any = Annotated[float, msgspec.Meta(ge=field.minimum, le=field.maximum)]
    if field.dtype != "float32":
        low, high = _integer_range(field)
        kind = Annotated[int, msgspec.Meta(ge=low, le=high)]
    for size in reversed(field.shape):
        kind = Annotated[list[kind], msgspec.Meta(min_length=size, max_length=size)]
    return kind


def _integer_range(field: Field) -> tuple[int, int]:
    """The integers that both the schema and the dtype allow."""
    info = np.iinfo(DTYPES[field.dtype])  # type: ignore[type-var]
    return max(int(-(-field.minimum // 1)), int(info.min)), min(int(field.maximum // 1), int(info.max))
