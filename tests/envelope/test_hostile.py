"""The hostile suite of envelopes: every case is refused for its own reason, the same by every way of opening, in
bounded time and memory (docs/content.md has the table).
"""

from __future__ import annotations

import io
import time
import tracemalloc

import pytest

from tests.envelope import reference
from tests.envelope.cases import CASES, CONTEXT, Case
from validator.envelope import EnvelopeError, open_envelope, open_stream
from validator.envelope.errors import REASONS

CASE = pytest.mark.parametrize("case", CASES.values(), ids=[name.replace(" ", "-") for name in CASES])


@CASE
def test_open__hostile_envelope__is_refused_for_its_own_reason(case: Case) -> None:
    begun = time.monotonic()
    with pytest.raises(EnvelopeError) as caught:
        open_envelope(case.data, case.secret, case.expected, case.limit)
    assert (caught.value.code, caught.value.reason) == (case.code, case.reason)
    assert "\n" not in str(caught.value)
    assert time.monotonic() - begun < 5.0


@CASE
def test_open_stream__the_same_file__is_refused_for_the_same_reason(case: Case) -> None:
    with pytest.raises(EnvelopeError) as caught:
        open_stream(io.BytesIO(case.data), len(case.data), case.secret, case.expected, case.limit)
    assert (caught.value.code, caught.value.reason) == (case.code, case.reason)


@pytest.mark.parametrize("case", [case for case in CASES.values() if case.reason != "oversized"])  # it has no limit
def test_reference__hostile_envelope__is_refused_by_the_other_reader_too(case: Case) -> None:
    with pytest.raises(Exception):  # noqa: B017 - it refuses by whatever fails
        reference.unseal(case.data, case.secret, {**CONTEXT, **dict(case.context)})


def test_open__largest_header_of_recipients__takes_little_more_than_the_file() -> None:
    case = CASES["1,025 recipients"]
    data = case.data
    tracemalloc.start()
    try:
        with pytest.raises(EnvelopeError):
            open_envelope(data, case.secret, case.expected, case.limit)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 * len(data)


def test_reasons__every_one_that_can_be_given__is_shown_by_a_case() -> None:
    assert {case.reason for case in CASES.values()} == set(REASONS) - {"key"}


@pytest.mark.parametrize("short", [1, 100, 65_552])
def test_open_stream__file_ends_before_its_declared_size__is_cut(short: int) -> None:
    data = CASES["more than the limit"].data

    with pytest.raises(EnvelopeError) as caught:
        open_stream(io.BytesIO(data[:-short]), len(data), CASES["no body"].secret, CASES["no body"].expected, 1 << 30)
    assert caught.value.reason == "length"


def test_open_stream__file_goes_on_after_its_declared_size__is_refused() -> None:
    data = CASES["more than the limit"].data

    with pytest.raises(EnvelopeError) as caught:
        open_stream(io.BytesIO(data + b"x"), len(data), CASES["no body"].secret, CASES["no body"].expected, 1 << 30)
    assert caught.value.reason == "length"
