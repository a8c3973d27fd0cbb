"""JSON whose nesting is bounded before it is parsed."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from validator.strict_json import loads

scalars = st.none() | st.booleans() | st.integers() | st.text()
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=20
)


@given(values, st.booleans())
def test_loads__whatever_json_writes__reads_it_back(value: object, ascii_only: bool) -> None:
    assert loads(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'["]",', b'[{"\\"}":'])
def test_loads__a_million_levels__is_refused(opening: bytes) -> None:
    with pytest.raises(ValueError, match="nested deeper than 32"):
        loads(opening * 1_000_000)


@pytest.mark.parametrize(("depth", "accepted"), [(31, True), (32, True), (33, False)])
def test_loads__at_the_limit__is_exact(depth: int, accepted: bool) -> None:
    raw = b"[" * depth + b"]" * depth
    if accepted:
        loads(raw)
    else:
        with pytest.raises(ValueError, match="nested deeper"):
            loads(raw)


def test_loads__brackets_hidden_by_another_encoding__are_refused() -> None:
    # In UTF-16, U+2200 holds the byte of a quote, after which the brackets would be taken for text.
    hidden = '["\u2200",' + "[" * 100_000 + "]" * 100_000 + ',"\u2200"]'
    with pytest.raises(ValueError):
        loads(hidden.encode("utf-16-le"))


def test_loads__hooks__are_those_of_json() -> None:
    assert loads(b'{"a":1,"a":2}', object_pairs_hook=list) == [("a", 1), ("a", 2)]


@pytest.mark.parametrize("raw", [b"", b"{", b"]", b'"', b"nul", b"\xff", b'{"a" 1}', b"[1,]"])
def test_loads__not_json__is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError):
        loads(raw)
