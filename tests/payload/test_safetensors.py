from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from validator.payload import Field, Malformed, Schema, classification, encode_safetensors
from validator.payload.safetensors_format import parse_safetensors

SCHEMA = classification((2, 3), 4, max_records=10, max_bytes=2 << 20)
WIDE = classification((2, 3), 4, max_records=10, max_bytes=1 << 28)
INPUTS = np.linspace(0, 1, 30, dtype=np.float32).reshape(5, 2, 3)
TARGETS = np.array([0, 1, 2, 3, 0])
GOOD = encode_safetensors(INPUTS, TARGETS)
LENGTH = int.from_bytes(GOOD[:8], "little")
HEADER, BODY = GOOD[8 : 8 + LENGTH], GOOD[8 + LENGTH :]


def build(header: Any, body: bytes = BODY) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def changed(*path: Any, value: Any) -> bytes:
    header = json.loads(HEADER)
    place = header
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return build(header)


def test_parse__canonical_payload__gives_the_arrays_back() -> None:
    parsed = parse_safetensors(GOOD, SCHEMA)

    assert np.array_equal(parsed.arrays["inputs"], INPUTS)
    assert np.array_equal(parsed.targets, TARGETS)
    assert (parsed.records, parsed.targets.dtype, parsed.arrays["inputs"].dtype) == (5, np.int64, np.float32)


def test_encode__our_bytes__are_read_alike_by_the_library() -> None:
    found = safetensors.numpy.load(GOOD)

    assert np.array_equal(found["inputs"], INPUTS)
    assert np.array_equal(found["targets"], TARGETS)


def test_parse__written_by_the_library_with_metadata__is_accepted() -> None:
    data = safetensors.numpy.save({"targets": TARGETS.astype(np.int64), "inputs": INPUTS}, metadata={"format": "np"})

    assert np.array_equal(parse_safetensors(data, SCHEMA).arrays["inputs"], INPUTS)


def test_parse__unaligned_tensors__are_copied_and_equal() -> None:
    header = HEADER.rstrip() + b" "

    parsed = parse_safetensors(build(header + b" " * (1 - len(header) % 2)), SCHEMA)

    assert np.array_equal(parsed.arrays["inputs"], INPUTS)
    assert parsed.arrays["inputs"].flags.aligned


def test_encode__negative_zero_and_other_memory_order__give_the_same_bytes() -> None:
    zeros = np.zeros((2, 2, 3), np.float32)

    assert encode_safetensors(-zeros, TARGETS[:2]) == encode_safetensors(zeros, TARGETS[:2])
    assert encode_safetensors(np.asfortranarray(INPUTS), TARGETS.astype(np.int32)) == GOOD
    assert encode_safetensors({"inputs": INPUTS.astype(">f4")}, TARGETS) == GOOD


@pytest.mark.parametrize("inputs", [INPUTS.astype(np.float64), INPUTS.astype(object), INPUTS.astype("U8")])
def test_encode__dtype_outside_the_protocol__is_refused(inputs: Any) -> None:
    with pytest.raises(ValueError, match="convert it"):
        encode_safetensors(inputs, TARGETS)


def test_parse__several_fields_of_each_dtype__are_read() -> None:
    schema = Schema(
        (
            Field("image", "uint8", (4,), 0, 255),
            Field("tokens", "int32", (3,), 0, 1000),
            Field("weight", "float32", (), -1, 1),
        ),
        classes=2,
        max_records=3,
        max_bytes=1000,
    )
    rows = {
        "image": np.arange(12, dtype=np.uint8).reshape(3, 4),
        "tokens": np.arange(9, dtype=np.int32).reshape(3, 3),
        "weight": np.array([-1, 0, 1], np.float32),
    }

    parsed = parse_safetensors(encode_safetensors(rows, np.array([0, 1, 0])), schema)

    assert all(np.array_equal(parsed.arrays[name], rows[name]) for name in rows)


def rows(array: Any) -> bytes:
    return encode_safetensors(array, TARGETS)


def put(value: float) -> bytes:
    inputs = INPUTS.copy()
    inputs[4, 1, 2] = value
    return rows(inputs)


def many(count: int) -> bytes:
    return encode_safetensors(np.zeros((count, 2, 3), np.float32), np.zeros(count, np.int64))


FOREIGN = {
    "npz, torch.save or pt2": b"PK\x03\x04\x14\x00\x00\x00",
    "npy": b"\x93NUMPY\x01\x00",
    "Parquet": b"PAR1\x15\x04\x15\x00",
    "Arrow": b"ARROW1\x00\x00",
    "gzip": b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
    "zstd": b"\x28\xb5\x2f\xfd\x04\x00\x00\x00",
    "old torch": b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46",
}
"""First bytes of formats that execute code or unpack to more than they are: none is a payload."""


@pytest.mark.parametrize(
    ("name", "code", "data"),
    [
        ("nothing", "header", b""),
        ("seven bytes", "header", GOOD[:7]),
        ("header of 2**60", "header", (2**60).to_bytes(8, "little") + GOOD[8:]),
        ("header of 2**64-1", "header", b"\xff" * 8 + GOOD[8:]),
        ("header beyond 1 MiB", "header", build(b"{" + b" " * (1 << 20) + b"}")),
        ("header of nothing", "header", build(b"")),
        ("header a list", "header", build(b"[]")),
        ("header with white space first", "header", build(b" " + HEADER)),
        ("header not utf-8", "header", build(b'{"\xff":1}')),
        ("header in utf-16", "header", build(b"{" + HEADER[1:].decode().encode("utf-16-le"))),
        ("header with null bytes", "header", build(b"{\0" + HEADER[1:])),
        ("two equal names by an escape", "header", build(b'{"\\u0069nputs":1,' + HEADER[1:])),
        ("dtype of no use", "dtype", changed("inputs", "dtype", value="BF16")),
        ("target type of no use", "dtype", changed("targets", "dtype", value="F32")),
        ("deep header", "header", build(b'{"a":' * 50_000)),
        ("number of 9,000 digits", "header", build(b'{"a":' + b"1" * 9000 + b"}")),
        ("header with NaN", "header", build(HEADER.replace(b'"shape":[5]', b'"shape":[NaN]'))),
        ("trailing data in the header", "header", build(HEADER.rstrip() + b"{}")),
        ("a tensor twice", "header", build(b'{"inputs":1,' + HEADER[1:])),
        ("a key twice", "header", build(HEADER.replace(b'"dtype":"F32"', b'"dtype":"F32","dtype":"F32"'))),
        ("metadata not text", "header", changed("__metadata__", value={"a": 1})),
        ("metadata a list", "header", changed("__metadata__", value=[])),
        ("tensor missing", "tensor", build({"inputs": json.loads(HEADER)["inputs"]})),
        ("tensor unknown", "tensor", changed("extra", value=json.loads(HEADER)["inputs"])),
        ("10,000 empty tensors", "tensor", build({f"t{n}": {} for n in range(10_000)}, b"")),
        ("entry a text", "header", changed("inputs", value="x")),
        ("entry with more", "header", changed("inputs", "extra", value=1)),
        ("shape with a float", "header", changed("targets", "shape", value=[5.0])),
        ("shape with true", "header", changed("targets", "shape", value=[True])),
        ("shape negative", "header", changed("targets", "shape", value=[-5])),
        ("shape of 2**124 values", "header", changed("inputs", "shape", value=[2**62, 2**62])),
        ("three offsets", "header", changed("inputs", "data_offsets", value=[0, 1, 2])),
        ("offsets overlap", "offsets", changed("inputs", "data_offsets", value=[0, 120])),
        ("offsets overlap at the end", "offsets", changed("targets", "data_offsets", value=[120, 160])),
        ("offsets leave a gap", "offsets", changed("inputs", "data_offsets", value=[48, 160])),
        ("offsets backwards", "offsets", changed("inputs", "data_offsets", value=[40, 39])),
        ("offsets past the end", "offsets", changed("inputs", "data_offsets", value=[40, 10**9])),
        ("body cut", "offsets", GOOD[:-1]),
        ("body longer", "offsets", GOOD + b"\0"),
        ("dtype other", "dtype", changed("inputs", "dtype", value="I32")),
        ("dtype unhashable", "dtype", changed("inputs", "dtype", value=["F32"])),
        ("targets with two axes", "shape", changed("targets", "shape", value=[5, 1])),
        ("targets without axis", "shape", changed("targets", "shape", value=[])),
        ("rows disagree", "shape", changed("inputs", "shape", value=[4, 2, 3])),
        ("inputs transposed", "shape", rows(INPUTS.reshape(5, 3, 2))),
        (
            "sizes disagree with shapes",
            "offsets",
            build(HEADER.replace(b"[0,40]", b"[0,48]").replace(b"[40,160]", b"[48,160]")),
        ),
        ("no records", "few_records", many(0)),
        ("too many records", "records", many(11)),
        ("too many bytes", "bytes", GOOD + bytes(2 << 20)),
        ("NaN", "finite", put(float("nan"))),
        ("infinity", "finite", put(float("inf"))),
        ("above the range", "range", put(1.0000001)),
        ("below the range", "range", put(-1e-30)),
        ("target too large", "range", encode_safetensors(INPUTS, np.array([0, 1, 2, 3, 4]))),
        ("target negative", "range", encode_safetensors(INPUTS, np.array([0, 1, 2, 3, -1]))),
        ("a pickle", "header", b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94."),
        *[(f"a file of {name}", "header", start + bytes(100)) for name, start in FOREIGN.items()],
    ],
)
def test_parse__hostile_file__is_malformed_for_its_reason(name: str, code: str, data: bytes) -> None:
    with pytest.raises(Malformed) as caught:
        parse_safetensors(data, SCHEMA)
    assert caught.value.code == code
    assert "\n" not in str(caught.value)
    assert caught.value.oversized == (code in ("bytes", "records"))


def test_parse__a_million_empty_tensors__cost_neither_time_nor_memory() -> None:
    header = (
        b"{" + b",".join(b'"t%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}' % n for n in range(1 << 20)) + b"}"
    )

    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(Malformed, match="header must have"):
        parse_safetensors(build(header, b""), WIDE)
    assert time.process_time() - start < 1.0
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 << 10  # KiB: the file itself, twice


DEEP = """
import sys
from validator.payload import Malformed, classification
from validator.payload.safetensors_format import parse_safetensors
sys.setrecursionlimit(10**9)
text = b'{"a":' + b"[" * 900_000
try:
    parse_safetensors(len(text).to_bytes(8, "little") + text, classification((1,), 2, max_records=1, max_bytes=1 << 20))
except Malformed as error:
    sys.exit(0 if error.code == "header" else 3)
"""


def test_parse__deep_header_where_a_library_has_raised_the_recursion_limit__does_not_overflow_the_stack() -> None:
    # eth_keyfile does so, and what a worker answers is read in the node's own process.
    assert subprocess.run([sys.executable, "-c", DEEP], timeout=60, check=False).returncode == 0


def _only_ours(call: Callable[[], object]) -> None:
    try:
        call()
    except Malformed as error:
        assert str(error)


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_parse__mutated_file__only_our_error_comes_out(data: st.DataObject) -> None:
    mutated = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(st.integers(0, 255))

    _only_ours(lambda: parse_safetensors(mutated, SCHEMA))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=4) | st.just("F32"),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["inputs", "targets", "dtype", "shape", "data_offsets", "__metadata__"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(inputs=JSON, targets=JSON, metadata=JSON)
def test_parse__any_json_header__only_our_error_comes_out(inputs: Any, targets: Any, metadata: Any) -> None:
    header = {"inputs": inputs, "targets": targets, "__metadata__": metadata}

    _only_ours(lambda: parse_safetensors(build(header), SCHEMA))
    _only_ours(lambda: parse_safetensors(build(inputs), SCHEMA))


@settings(max_examples=50, deadline=None)
@given(count=st.integers(1, 10), seed=st.integers(0, 2**32 - 1))
def test_parse__whatever_encode_wrote__is_read_back_and_written_alike(count: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    inputs = random.random((count, 2, 3), dtype=np.float32)
    targets = random.integers(0, 4, count)

    data = encode_safetensors(inputs, targets)
    parsed = parse_safetensors(data, SCHEMA)

    assert encode_safetensors(parsed.arrays["inputs"], parsed.targets) == data
