from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from validator.payload import BadSchema, Field, Schema, canonical_record, classification


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


def test_canonical_record__a_known_record__has_these_bytes() -> None:
    found = canonical_record(np.array([[1, -2]], np.int32), 3)

    assert found == (
        b"poc-record/1\n\x05int32\x02\x01\x00\x00\x00\x02\x00\x00\x00\x01\x00\x00\x00\xfe\xff\xff\xff"
        b"\x03\x00\x00\x00\x00\x00\x00\x00"
    )


def test_canonical_record__negative_zero_byte_order_and_strides__do_not_matter() -> None:
    row = np.array([[0.0, 1.5], [2.0, 0.0]], np.float32)

    for same in (
        np.negative(np.negative(row)),
        row * np.array([[-1, 1], [1, -1]]).astype(np.float32),
        row.astype(">f4"),
        np.asfortranarray(row),
    ):
        assert canonical_record(np.asarray(same).reshape(2, 2), 1) in {canonical_record(row, 1)}


@pytest.mark.parametrize(
    ("row", "target"),
    [
        (np.array([1, 2], np.float32), 1),
        (np.array([1, 2], np.int32), 0),
        (np.array([[1, 2]], np.int32), 1),
        (np.array([1, 3], np.int32), 1),
    ],
)
def test_canonical_record__other_value_shape_dtype_or_target__differs(row: Any, target: int) -> None:
    assert canonical_record(row, target) != canonical_record(np.array([1, 2], np.int32), 1)


@pytest.mark.parametrize("row", [np.array([np.nan], np.float32), np.array([np.inf], np.float32), np.array([1.0])])
def test_canonical_record__without_canonical_form__is_refused(row: Any) -> None:
    with pytest.raises(ValueError, match="canonical form"):
        canonical_record(row, 0)
