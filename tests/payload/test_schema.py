from __future__ import annotations

from typing import Any

import pytest

from validator.payload import BadSchema, Field, Schema, classification


@pytest.mark.parametrize(
    "arguments",
    [
        ("", "float32", (), 0, 1),
        ("Inputs", "float32", (), 0, 1),
        ("a" * 65, "float32", (), 0, 1),
        ("__metadata__", "float32", (), 0, 1),
        ("x", "float64", (), 0, 1),
        ("x", "float32", (0,), 0, 1),
        ("x", "float32", (1, 1, 1, 1, 1), 0, 1),
        ("x", "float32", (1 << 25,), 0, 1),
        ("x", "float32", (), 1, 0),
        ("x", "float32", (), float("nan"), 1),
        ("x", "float32", (), 0, float("inf")),
    ],
)
def test_field__that_cannot_be_used__is_refused(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(BadSchema):
        Field(*arguments)


FIELD = Field("inputs", "float32", (2,), 0, 1)


@pytest.mark.parametrize(
    "arguments",
    [
        ((), 2, 1, 1),
        ((FIELD, FIELD), 2, 1, 1),
        ((Field("targets", "float32", (2,), 0, 1),), 2, 1, 1),
        ((Field("target", "float32", (2,), 0, 1),), 2, 1, 1),
        ((FIELD,), 0, 1, 1),
        ((FIELD,), 2**31 + 1, 1, 1),
        ((FIELD,), 2, 0, 1),
        ((FIELD,), 2, 1, 0),
    ],
)
def test_schema__that_cannot_be_used__is_refused(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(BadSchema):
        Schema(*arguments)


def test_schema__tensors__come_larger_items_first_then_by_name() -> None:
    schema = Schema((Field("z", "uint8", (1,), 0, 1), Field("b", "int32", (1,), 0, 1), FIELD), 2, 5, 1000)

    assert [one.name for one in schema.tensors] == ["targets", "b", "inputs", "z"]
    assert schema.largest_arrays == 5 * (8 + 4 + 8 + 1)


def test_classification__defaults__are_float32_from_0_to_1() -> None:
    schema = classification((64,), 10, max_records=5, max_bytes=100)

    assert schema.fields == (Field("inputs", "float32", (64,), 0.0, 1.0),)
