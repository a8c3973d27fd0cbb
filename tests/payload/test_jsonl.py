from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from validator.payload import Field, Malformed, Schema, classification, encode_jsonl
from validator.payload.jsonl import parse_jsonl

SCHEMA = classification((3,), 4, max_records=10, max_bytes=2 << 20)
TOKENS = Schema((Field("inputs", "int32", (2, 2), -5, 2**31 - 1),), 4, max_records=10, max_bytes=10_000)
LINE = b'{"inputs":[0,0.5,1],"target":3}'


def test_parse__lines_with_and_without_final_newline__are_the_same_records() -> None:
    first, second = parse_jsonl(LINE + b"\n" + LINE, SCHEMA), parse_jsonl(LINE + b"\n" + LINE + b"\n", SCHEMA)

    for parsed in (first, second):
        assert np.array_equal(parsed.arrays["inputs"], np.array([[0, 0.5, 1]] * 2, np.float32))
        assert np.array_equal(parsed.targets, [3, 3])


def test_parse__nested_integers__keep_their_values() -> None:
    parsed = parse_jsonl(b'{"target":0,"inputs":[[-5,2147483647],[0,1]]}', TOKENS)

    assert parsed.arrays["inputs"].tolist() == [[[-5, 2147483647], [0, 1]]]
    assert parsed.arrays["inputs"].dtype == np.int32


def test_parse__windows_line_ends__are_white_space() -> None:
    assert parse_jsonl(LINE + b"\r\n" + LINE + b"\r\n", SCHEMA).records == 2


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=3, max_size=3))
def test_parse__decimal_text__is_rounded_to_the_nearest_float32_of_its_double(values: list[float]) -> None:
    parsed = parse_jsonl(json.dumps({"inputs": values, "target": 0}).encode(), SCHEMA)

    assert np.array_equal(parsed.arrays["inputs"][0], np.array(values, np.float64).astype(np.float32))


def line(inputs: str = "[0,0.5,1]", target: str = "3") -> bytes:
    return f'{{"inputs":{inputs},"target":{target}}}'.encode()


@pytest.mark.parametrize(
    ("name", "code", "data"),
    [
        ("nothing", "line", b""),
        ("only newlines", "line", b"\n" * 9),
        ("an empty line between", "line", LINE + b"\n\n" + LINE),
        ("eleven lines", "records", (LINE + b"\n") * 11),
        ("too many bytes", "bytes", bytes(3 << 20)),
        ("a line beyond 1 MiB", "line", LINE + b" " * (1 << 20)),
        ("not json", "line", b"inputs: 0, 1, 2, target: three"),
        ("two values on a line", "line", LINE + LINE),
        ("a list", "line", b"[0,0.5,1,3,1,1,1]"),
        ("cut", "line", LINE[:-1]),
        ("NaN", "line", line("[0,NaN,1]")),
        ("Infinity", "line", line("[0,Infinity,1]")),
        ("1e999", "line", line("[0,1e999,1]")),
        ("a million digits", "line", line("[0," + "1" * 1_000_000 + ",1]")),
        ("above the range", "line", line("[0,1.0000001,1]")),
        ("too few values", "line", line("[0,1]")),
        ("too many values", "line", line("[0,1,1,1]")),
        ("deeper", "line", line("[[0],[1],[1]]")),
        ("very deep", "line", line("[" * 100_000)),
        ("a text for a number", "line", line('["0",1,1]')),
        ("true for a number", "line", line("[true,1,1]")),
        ("null", "line", line("null")),
        ("target a float", "line", line(target="1.0")),
        ("target a text", "line", line(target='"1"')),
        ("target beyond", "line", line(target="4")),
        ("target negative", "line", line(target="-1")),
        ("target of 100,000 digits", "line", line(target="9" * 100_000)),
        ("target missing", "line", b'{"inputs":[0,0.5,1]         }'),
        ("field unknown", "line", LINE[:-1] + b',"more":1}'),
        ("field twice", "line", LINE[:-1] + b',"target":1}'),
        ("field twice by an escape", "line", LINE[:-1] + b',"t\\u0061rget":1}'),
        ("key by an escape", "line", LINE.replace(b"target", b"t\\u0061rget")),
        ("not utf-8", "line", LINE[:-2] + b"\xff}"),
        ("a byte order mark", "line", b"\xef\xbb\xbf" + LINE),
        ("a null byte", "line", LINE + b"\0"),
        ("utf-16", "line", LINE.decode().encode("utf-16")),
        ("an overlong quote in utf-8", "line", LINE[:-1] + b',\xc0\xa2more":1}'),
        ("a comment", "line", LINE + b" // one"),
        ("a leading zero", "line", line("[00,1,1]")),
        ("hexadecimal", "line", line("[0x1,1,1]")),
        ("a trailing comma", "line", line("[0,1,1,]")),
        ("nested beyond the recursion limit in a field unknown", "line", b'{"more":' + b"[" * 500_000),
        ("an object for the list", "line", line('{"0":1}')),
        ("a zip", "line", b"PK\x03\x04" + bytes(100)),
        ("Parquet", "line", b"PAR1\x15\x04" + bytes(100)),
        ("a pickle", "line", b"\x80\x04\x95\x10" + bytes(100)),
    ],
)
def test_parse__hostile_lines__are_malformed_for_their_reason(name: str, code: str, data: bytes) -> None:
    with pytest.raises(Malformed) as caught:
        parse_jsonl(data, SCHEMA)
    assert caught.value.code == code
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "value", ["1.0", "1e0", "1E2", "2147483648", "-6", str(2**63), str(2**64), "9" * 5000, "true", '"1"', "null", "NaN"]
)
def test_parse__integers__are_written_as_integers_and_within_the_range(value: str) -> None:
    with pytest.raises(Malformed) as caught:
        parse_jsonl(f'{{"inputs":[[{value},0],[0,0]],"target":0}}'.encode(), TOKENS)
    assert caught.value.code == "line"


@pytest.mark.parametrize(("value", "taken"), [("-1", False), ("0", True), ("-0", True), ("255", True), ("256", False)])
def test_parse__bytes__hold_what_a_byte_holds(value: str, taken: bool) -> None:
    schema = Schema((Field("inputs", "uint8", (1,), -1e9, 1e9),), 2, max_records=1, max_bytes=100)
    data = f'{{"inputs":[{value}],"target":0}}'.encode()

    if taken:
        assert parse_jsonl(data, schema).arrays["inputs"].tolist() == [[abs(int(value))]]
    else:
        with pytest.raises(Malformed):
            parse_jsonl(data, schema)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.lists(st.floats(0, 1, width=32), min_size=3, max_size=3), min_size=1, max_size=4))
def test_parse__whatever_encode_wrote__is_read_back_to_the_bit(rows: list[list[float]]) -> None:
    inputs, targets = np.array(rows, np.float32), np.arange(len(rows)) % 4

    parsed = parse_jsonl(encode_jsonl(inputs, targets), SCHEMA)

    assert np.array_equal(parsed.arrays["inputs"], inputs)
    assert np.array_equal(parsed.targets, targets)


def test_parse__value_that_overflows_float32__is_refused() -> None:
    schema = Schema((Field("inputs", "float32", (1,), -1e300, 1e300),), 2, max_records=1, max_bytes=100)

    with pytest.raises(Malformed) as caught:
        parse_jsonl(b'{"inputs":[1e39],"target":0}', schema)
    assert caught.value.code == "finite"


def test_parse__few_bytes_that_claim_huge_rows__are_refused_before_memory_is_taken() -> None:
    schema = Schema((Field("inputs", "float32", (4096, 4096), 0, 1),), 2, max_records=1000, max_bytes=10_000)

    with pytest.raises(Malformed, match="too few"):
        parse_jsonl(b"{}\n" * 1000, schema)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_parse__mutated_lines__only_our_error_comes_out(data: st.DataObject) -> None:
    mutated = bytearray(LINE + b"\n" + LINE)
    for _ in range(data.draw(st.integers(1, 4))):
        mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(st.integers(0, 255))

    try:
        parsed = parse_jsonl(mutated, SCHEMA)
    except Malformed as error:
        assert "\n" not in str(error)
    else:
        assert 0 <= parsed.arrays["inputs"].min() <= parsed.arrays["inputs"].max() <= 1


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_parse__any_bytes__only_our_error_comes_out(data: bytes) -> None:
    try:
        parse_jsonl(data, SCHEMA)
    except Malformed as error:
        assert error.code in ("line", "records", "few_records")
