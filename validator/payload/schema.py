"""What a DAO accepts: names, dtypes, shapes and ranges of one record, and how many records and bytes at once.

A record is either its fields and a class, or, for language models, one sequence of tokens, of which each is to be
predicted from those before it.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from validator.payload.errors import BadSchema, Malformed

DType = Literal["float32", "uint8", "int32", "int64"]
Task = Literal["classify", "next_token"]
Array = NDArray[np.generic]

DTYPES: dict[str, np.dtype[np.generic]] = {
    "float32": np.dtype("<f4"),
    "uint8": np.dtype("u1"),
    "int32": np.dtype("<i4"),
    "int64": np.dtype("<i8"),
}
TARGETS = "targets"
PADDING = -1
"""Fills a sequence of tokens up at its end."""
LEAST_TOKENS = 2
"""In a sequence: one to predict, and one to predict it from."""
MAX_VALUES = 1 << 24
"""Values in one field of one record."""
MOST_PADDING = 64
"""Bytes of padded sequences that a byte of JSON Lines may become."""
FREE_PADDING = 1 << 20
"""Bytes of padded sequences that any payload may become."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Field:
    """One input of a record: `shape` without the record axis; values must lie in [minimum, maximum].

    Raises BadSchema.
    """

    name: str
    dtype: DType
    shape: tuple[int, ...]
    minimum: float
    maximum: float

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise BadSchema(f"a field cannot be called {self.name!r}: use a-z, 0-9 and _")
        if self.dtype not in DTYPES:
            raise BadSchema(f"field {self.name}: dtype {self.dtype!r} is not one of {', '.join(DTYPES)}")
        if len(self.shape) > 4 or any(size < 1 for size in self.shape) or self.values > MAX_VALUES:
            raise BadSchema(f"field {self.name}: a shape has at most 4 positive axes and {MAX_VALUES} values")
        if not (math.isfinite(self.minimum) and math.isfinite(self.maximum) and self.minimum <= self.maximum):
            raise BadSchema(f"field {self.name}: minimum and maximum must be finite and in order")

    @property
    def values(self) -> int:
        """Values in one record."""
        return math.prod(self.shape)

    @property
    def row_bytes(self) -> int:
        """Bytes of one record."""
        return self.values * DTYPES[self.dtype].itemsize


@dataclass(frozen=True, slots=True)
class Schema:
    """A record is its fields and one integer target in [0, classes); or, for the task next_token, one field, the
    sequence of its tokens in [0, classes), and no target. Raises BadSchema.
    """

    fields: tuple[Field, ...]
    classes: int
    max_records: int
    max_bytes: int
    task: Task = "classify"

    def __post_init__(self) -> None:
        names = [field.name for field in self.fields]
        if not 1 <= len(names) <= 64 or len(set(names)) != len(names):
            raise BadSchema("a schema has 1 to 64 fields with different names")
        if {"target", TARGETS} & set(names):
            raise BadSchema("target and targets are the class: give the field another name")
        if not 1 <= self.classes <= 2**31:
            raise BadSchema("the number of classes must be 1 to 2**31")
        if self.max_records < 1 or self.max_bytes < 1:
            raise BadSchema("a schema must allow at least one record and one byte")
        if self.is_sequence and self.fields != (_tokens(self.fields[0].values, self.classes),):
            raise BadSchema("the task next_token has one field, inputs: int64 tokens from padding (-1) to classes - 1")

    @property
    def is_sequence(self) -> bool:
        """Whether a record is a sequence of tokens."""
        return self.task == "next_token"

    @property
    def tensors(self) -> tuple[Field, ...]:
        """All tensors of a payload in canonical order: larger items first, so that all are aligned, then by name."""
        targets = () if self.is_sequence else (Field(TARGETS, "int64", (), 0, self.classes - 1),)
        return tuple(sorted((*self.fields, *targets), key=lambda one: (-DTYPES[one.dtype].itemsize, one.name)))

    @property
    def largest_arrays(self) -> int:
        """Bytes of the arrays of a payload with as many records as allowed."""
        return self.max_records * sum(one.row_bytes for one in self.tensors)


def classification(
    shape: tuple[int, ...],
    classes: int,
    *,
    max_records: int,
    max_bytes: int,
    dtype: DType = "float32",
    minimum: float = 0.0,
    maximum: float = 1.0,
) -> Schema:
    """The usual schema: one field called `inputs`, and a class. Raises BadSchema."""
    return Schema((Field("inputs", dtype, shape, minimum, maximum),), classes, max_records, max_bytes)


def sequences(length: int, classes: int, *, max_records: int, max_bytes: int) -> Schema:
    """The schema of language models: `inputs` holds up to `length` tokens in [0, classes). Raises BadSchema."""
    return Schema((_tokens(length, classes),), classes, max_records, max_bytes, "next_token")


def _tokens(length: int, classes: int) -> Field:
    if length < LEAST_TOKENS:
        raise BadSchema(f"a sequence must have room for at least {LEAST_TOKENS} tokens")
    return Field("inputs", "int64", (length,), PADDING, classes - 1)


@dataclass(frozen=True, slots=True)
class Parsed:
    """Accepted records: one array a field, `(records, *shape)`, and, unless they are sequences, `targets`, `(records,)`
    int64. All checked.
    """

    arrays: dict[str, Array]

    @property
    def records(self) -> int:
        """How many."""
        return len(next(iter(self.arrays.values())))

    @property
    def targets(self) -> Array | None:
        """Class of each record, int64; None for sequences."""
        return self.arrays.get(TARGETS)


def check_bytes(size: int, schema: Schema) -> None:
    """Raise Malformed("bytes") for a payload of more bytes than allowed."""
    if size > schema.max_bytes:
        raise Malformed("bytes", f"a payload of {size} bytes: at most {schema.max_bytes} are allowed")


def padded_limit(size: int, schema: Schema) -> int:
    """Bytes that the sequences of `size` bytes of JSON Lines may take once they are padded.

    Without it four kilobytes of short lines would become `max_bytes` of padding, in every validator's memory, at the
    price of four kilobytes.
    """
    return min(schema.max_bytes, max(FREE_PADDING, MOST_PADDING * size))


def check_records(records: int, schema: Schema) -> None:
    """Raise Malformed("few_records") for none, Malformed("records") for too many."""
    if records < 1:
        raise Malformed("few_records", "no record at all")
    if records > schema.max_records:
        raise Malformed("records", f"{records} records: at most {schema.max_records} are allowed")


def check_values(arrays: dict[str, Array], schema: Schema) -> Parsed:
    """Raise Malformed for a NaN, an infinity or a value out of range.

    Dtypes and shapes are the caller's to have checked.
    """
    for field in schema.tensors:
        array = arrays[field.name]
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise Malformed("finite", f"{field.name} holds NaN or infinity")
        # As Python numbers: NumPy would round the bound to the array's dtype before comparing.
        if not (field.minimum <= array.min().item() and array.max().item() <= field.maximum):
            raise Malformed("range", f"{field.name} holds values outside {field.minimum} to {field.maximum}")
    if schema.is_sequence:
        _check_padding(arrays["inputs"])
    return Parsed(arrays)


def _check_padding(tokens: Array) -> None:
    """Raise Malformed("sequence") unless each row is at least two tokens, and then nothing but padding."""
    real = tokens != PADDING
    if not real[:, :LEAST_TOKENS].all():
        raise Malformed("sequence", f"a sequence must begin with at least {LEAST_TOKENS} tokens")
    if (real[:, 1:] & ~real[:, :-1]).any():
        raise Malformed("sequence", "a sequence has padding before its last token")
