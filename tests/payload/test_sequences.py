"""Payloads of token sequences, in both formats."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from validator.payload import BadSchema, Field, Malformed, Parsed, Schema, encode_jsonl, encode_safetensors, sequences
from validator.payload.jsonl import parse_jsonl
from validator.payload.parse import parse
from validator.payload.safetensors_format import parse_safetensors

LENGTH, CLASSES = 4, 50
SCHEMA = sequences(LENGTH, CLASSES, max_records=6, max_bytes=4096)
TOKENS = np.array([[1, 2, 3, 4], [5, 6, -1, -1], [49, 0, 0, -1]])
LINES = b'{"inputs":[1,2,3,4]}\n{"inputs":[5,6]}\n{"inputs":[49,0,0]}\n'

rows = st.lists(st.lists(st.integers(0, CLASSES - 1), min_size=2, max_size=LENGTH), min_size=1, max_size=6)


def padded(documents: list[list[int]]) -> np.ndarray:
    return np.array([row + [-1] * (LENGTH - len(row)) for row in documents])


def both(data: bytes, fmt: str) -> Parsed:
    return {"safetensors": parse_safetensors, "jsonl": parse_jsonl}[fmt](data, SCHEMA)


def test_parse__either_format__the_same_padded_tokens_and_no_targets() -> None:
    for parsed in (both(encode_safetensors(TOKENS), "safetensors"), both(LINES, "jsonl")):
        assert np.array_equal(parsed.arrays["inputs"], TOKENS)
        assert parsed.arrays["inputs"].dtype == np.int64
        assert parsed.targets is None
        assert parsed.records == 3


def test_encode_jsonl__padding__is_left_out() -> None:
    assert encode_jsonl(TOKENS) == LINES


@pytest.mark.parametrize(("data", "fmt"), [(encode_safetensors(TOKENS), "safetensors"), (LINES, "jsonl")])
def test_parse__through_the_worker__gives_the_same(data: bytes, fmt: str) -> None:
    parsed = parse(data, fmt, SCHEMA)

    assert np.array_equal(parsed.arrays["inputs"], TOKENS)
    assert parsed.targets is None


def test_parse__padding_inside__is_a_verdict_of_the_worker() -> None:
    with pytest.raises(Malformed) as caught:
        parse(encode_safetensors(np.array([[1, 2, -1, 3]])), "safetensors", SCHEMA)
    assert caught.value.code == "sequence"


@settings(max_examples=60, deadline=None)
@given(rows)
def test_parse__whatever_was_encoded__comes_back_from_both_formats(documents: list[list[int]]) -> None:
    tokens = padded(documents)

    from_tensors, from_lines = both(encode_safetensors(tokens), "safetensors"), both(encode_jsonl(tokens), "jsonl")

    assert np.array_equal(from_tensors.arrays["inputs"], tokens)
    assert encode_safetensors(from_lines.arrays["inputs"]) == encode_safetensors(tokens)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(st.integers(-2, 2), min_size=LENGTH, max_size=LENGTH), min_size=1, max_size=3))
def test_parse__any_rows__taken_exactly_if_tokens_come_first_and_number_two(tokens: list[list[int]]) -> None:
    def sound(row: list[int]) -> bool:
        real = row[: next((place for place, token in enumerate(row) if token == -1), LENGTH)]
        return len(real) >= 2 and min(real) >= 0 and set(row[len(real) :]) <= {-1}

    try:
        parse_safetensors(encode_safetensors(np.array(tokens)), SCHEMA)
        taken = True
    except Malformed as error:
        taken = False
        assert error.code in ("range", "sequence")
    assert taken == all(map(sound, tokens))


def tensors(*tokens: list[int]) -> bytes:
    return encode_safetensors(np.array(tokens, np.int64))


@pytest.mark.parametrize(
    ("name", "code", "data"),
    [
        ("padding in the middle", "sequence", tensors([1, 2, -1, 4])),
        ("padding first", "sequence", tensors([-1, 2, 3, 4])),
        ("only padding", "sequence", tensors([-1, -1, -1, -1])),
        ("one token", "sequence", tensors([1, -1, -1, -1])),
        ("one of many rows too short", "sequence", tensors([1, 2, 3, 4], [1, -1, -1, -1])),
        ("other padding", "range", tensors([1, 2, 3, -2])),
        ("token beyond the vocabulary", "range", tensors([1, 2, 3, CLASSES])),
        ("token of 2**63 - 1", "range", tensors([1, 2, 3, 2**63 - 1])),
        ("token of -2**63", "range", tensors([1, 2, 3, -(2**63)])),
        ("targets as well", "tensor", encode_safetensors(TOKENS, np.arange(3))),
        ("targets alone", "tensor", encode_safetensors({}, np.arange(3))),
        ("nothing", "tensor", encode_safetensors({})),
        ("int32 tokens", "dtype", encode_safetensors(TOKENS.astype(np.int32))),
        ("float tokens", "dtype", encode_safetensors(TOKENS.astype(np.float32))),
        ("shorter rows", "shape", encode_safetensors(TOKENS[:, :3])),
        ("longer rows", "shape", encode_safetensors(np.zeros((2, 5), np.int64))),
        ("rows of rows", "shape", encode_safetensors(TOKENS[:, :, None])),
        ("no row axis", "shape", encode_safetensors(np.arange(4))),
        ("a single number", "shape", encode_safetensors(np.int64(7))),
        ("no rows", "few_records", encode_safetensors(np.zeros((0, 4), np.int64))),
        ("seven rows", "records", encode_safetensors(np.zeros((7, 4), np.int64))),
        ("too many bytes", "bytes", encode_safetensors(np.zeros((200, 4), np.int64))),
        ("cut", "offsets", tensors([1, 2, 3, 4])[:-1]),
    ],
)
def test_parse_safetensors__hostile_sequences__are_malformed_for_their_reason(
    name: str, code: str, data: bytes
) -> None:
    with pytest.raises(Malformed) as caught:
        parse_safetensors(data, SCHEMA)
    assert caught.value.code == code
    assert "\n" not in str(caught.value)


def line(inputs: str) -> bytes:
    return b'{"inputs":%s}' % inputs.encode()


@pytest.mark.parametrize(
    ("name", "code", "data"),
    [
        ("one token", "line", line("[1]")),
        ("no token", "line", line("[]")),
        ("five tokens", "line", line("[1,2,3,4,5]")),
        ("a million tokens", "bytes", line("[" + "1," * 999_999 + "1]")),
        ("padding written out", "line", line("[1,2,-1,-1]")),
        ("token beyond the vocabulary", "line", line("[1,50]")),
        ("token of 2**64", "line", line(f"[1,{2**64}]")),
        ("token of 3,000 digits", "line", line("[1," + "9" * 3000 + "]")),
        ("a float", "line", line("[1,2.0]")),
        ("an exponent", "line", line("[1,2e0]")),
        ("NaN", "line", line("[1,NaN]")),
        ("true", "line", line("[1,true]")),
        ("null", "line", line("[1,null]")),
        ("a text", "line", line('[1,"2"]')),
        ("a text for the list", "line", line('"ab"')),
        ("nested", "line", line("[[1,2],[3,4]]")),
        ("very deep", "line", line("[" * 3000)),
        ("a target as well", "line", b'{"inputs":[1,2],"target":1}'),
        ("inputs twice", "line", b'{"inputs":[1,2],"inputs":[3,4]}'),
        ("inputs twice by an escape", "line", b'{"inputs":[1,2],"\\u0069nputs":[3,4]}'),
        ("inputs missing", "line", b"{}"),
        ("a list", "line", b"[1,2]"),
        ("cut", "line", b'{"inputs":[1,2'),
        ("not utf-8", "line", b'{"inp\xffts":[1,2]}'),
        ("an empty line between", "line", line("[1,2]") + b"\n\n" + line("[1,2]")),
        ("nothing", "line", b""),
        ("seven lines", "records", (line("[1,2]") + b"\n") * 7),
    ],
)
def test_parse_jsonl__hostile_sequences__are_malformed_for_their_reason(name: str, code: str, data: bytes) -> None:
    with pytest.raises(Malformed) as caught:
        parse_jsonl(data, SCHEMA)
    assert caught.value.code == code
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_parse_jsonl__short_lines_that_padding_would_blow_up__are_refused_before_memory_is_taken() -> None:
    schema = sequences(1 << 20, 2, max_records=1 << 20, max_bytes=1 << 24)  # 8 TiB of padding at worst

    with pytest.raises(Malformed) as caught:
        parse_jsonl((line("[0,1]") + b"\n") * 1000, schema)
    assert caught.value.code == "bytes"


def test_parse_jsonl__as_much_padding_as_safetensors_may_hold__is_taken() -> None:
    schema = sequences(64, 2, max_records=9, max_bytes=8 * 64 * 8)

    assert parse_jsonl((line("[0,1]") + b"\n") * 8, schema).records == 8
    with pytest.raises(Malformed, match="take 4608 padded"):
        parse_jsonl((line("[0,1]") + b"\n") * 9, schema)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_parse__mutated_sequences__only_our_error_or_sound_tokens_come_out(data: st.DataObject) -> None:
    fmt = data.draw(st.sampled_from(["safetensors", "jsonl"]))
    mutated = bytearray(LINES if fmt == "jsonl" else encode_safetensors(TOKENS))
    for _ in range(data.draw(st.integers(1, 4))):
        mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(st.integers(0, 255))

    try:
        tokens = both(bytes(mutated), fmt).arrays["inputs"]
    except Malformed as error:
        assert "\n" not in str(error)
    else:
        assert -1 <= tokens.min() <= tokens.max() < CLASSES
        assert (tokens[:, :2] >= 0).all()


@settings(max_examples=150, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=5),
        max_leaves=10,
    )
)
def test_parse_jsonl__any_value_for_inputs__only_lists_of_tokens_are_taken(value: object) -> None:
    try:
        parse_jsonl(json.dumps({"inputs": value}).encode(), SCHEMA)
    except Malformed:
        return
    assert isinstance(value, list)
    assert 2 <= len(value) <= LENGTH
    assert all(type(token) is int and 0 <= token < CLASSES for token in value)


@pytest.mark.parametrize(
    "field",
    [
        Field("inputs", "int32", (4,), -1, 9),
        Field("inputs", "int64", (4,), 0, 9),
        Field("inputs", "int64", (4,), -1, 10),
        Field("inputs", "int64", (2, 2), -1, 9),
        Field("tokens", "int64", (4,), -1, 9),
        Field("inputs", "int64", (1,), -1, 9),
    ],
)
def test_schema__sequences_of_another_kind__are_refused(field: Field) -> None:
    with pytest.raises(BadSchema):
        Schema((field,), 10, 1, 100, "next_token")


def test_schema__two_fields_of_tokens__are_refused() -> None:
    fields = (Field("inputs", "int64", (4,), -1, 9), Field("more", "int64", (4,), -1, 9))

    with pytest.raises(BadSchema):
        Schema(fields, 10, 1, 100, "next_token")


@pytest.mark.parametrize("length", [-1, 0, 1])
def test_sequences__with_nothing_to_predict__are_refused(length: int) -> None:
    with pytest.raises(BadSchema, match="at least 2 tokens"):
        sequences(length, 10, max_records=1, max_bytes=100)
