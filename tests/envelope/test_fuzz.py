"""Whatever arrives, only our errors come out, and nothing but the sealed bytes opens."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from validator.envelope import (
    Context,
    EnvelopeError,
    Undecryptable,
    WrongContext,
    generate_keypair,
    open_envelope,
    seal,
)
from validator.envelope.format import MAGIC, canonical, read_head

CONTEXT = Context(31_337, "0x" + "c0" * 20, 2, "0x" + "a1" * 20)
DAO = generate_keypair()


def opened(data: bytes) -> bytes:
    return open_envelope(data, DAO.secret, CONTEXT, 1000)


SMALL = seal(b"small secret", [DAO.public], CONTEXT)


@settings(max_examples=400, deadline=None)
@given(at=st.integers(0, len(SMALL) - 1), bit=st.integers(0, 7))
def test_open__any_bit_flipped__never_opens(at: int, bit: int) -> None:
    flipped = bytearray(SMALL)
    flipped[at] ^= 1 << bit

    with pytest.raises((Undecryptable, WrongContext)):
        opened(bytes(flipped))


@settings(max_examples=200, deadline=None)
@given(cut=st.integers(0, len(SMALL) - 1), tail=st.binary(max_size=20))
def test_open__any_cut_or_other_tail__never_opens(cut: int, tail: bytes) -> None:
    if SMALL[cut:] == tail:
        return
    with pytest.raises(EnvelopeError):
        opened(SMALL[:cut] + tail)


@settings(max_examples=300, deadline=None)
@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.text(max_size=5)
        | st.floats(allow_nan=False, allow_infinity=False),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["commitment", "context", "recipients", "suite", "kid", "wrap", "chain_id"]), inner
            )
        ),
    )
)
def test_read_head__any_json__only_our_error_comes_out(value: Any) -> None:
    text = canonical(value)

    with pytest.raises(Undecryptable):
        read_head(MAGIC + len(text).to_bytes(4, "big") + text)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_open__any_bytes__only_our_error_comes_out(data: bytes) -> None:
    for attempt in (data, MAGIC + data, MAGIC + len(data).to_bytes(4, "big") + data):
        with pytest.raises(Undecryptable):
            opened(attempt)
