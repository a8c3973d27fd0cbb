"""Suite 2, ML-KEM-768 with X25519: there as an experiment, and refused by everything that was not asked for it."""

from __future__ import annotations

import os

import pytest

from validator.envelope import BadKey, Context, Undecryptable, generate_keypair, open_envelope, seal, unwrap_dek
from validator.envelope.format import HYBRID, WRAP_BYTES, read_head
from validator.envelope.keys import generate_hybrid_keypair, public_key, unwrap, wrap

CONTEXT = Context(31_337, "0x" + "c0" * 20, 2, "0x" + "a1" * 20)
PAIR = generate_hybrid_keypair()
PLAIN = os.urandom(70_000)
SEALED = seal(PLAIN, [PAIR.public], CONTEXT, suite=HYBRID)


def test_open__hybrid_envelope_when_asked_for__gives_the_plaintext() -> None:
    assert open_envelope(SEALED, PAIR.secret, CONTEXT, len(PLAIN), experimental=True) == PLAIN
    assert (len(PAIR.secret), len(PAIR.public)) == (96, 1216)
    assert len(read_head(SEALED, experimental=True).header.recipients[0].wrap) == WRAP_BYTES[HYBRID] == 1168


def test_open__hybrid_envelope_by_default__is_a_suite_that_is_not_taken() -> None:
    for refuse in (
        lambda: open_envelope(SEALED, PAIR.secret, CONTEXT, len(PLAIN)),
        lambda: unwrap_dek(SEALED, PAIR.secret, CONTEXT),
        lambda: read_head(SEALED),
    ):
        with pytest.raises(Undecryptable) as caught:
            refuse()
        assert caught.value.reason == "suite"


def test_open__half_of_the_key_is_wrong__does_not_open() -> None:
    other = generate_hybrid_keypair()
    for secret in (PAIR.secret[:64] + other.secret[64:], other.secret[:64] + PAIR.secret[64:]):
        wrapped = wrap(b"k" * 32, PAIR.public, b"info", HYBRID)
        assert unwrap(wrapped, secret, b"info", HYBRID) is None
    assert unwrap(wrapped, PAIR.secret, b"info", HYBRID) == b"k" * 32
    assert unwrap(wrapped, PAIR.secret, b"other", HYBRID) is None


def test_keys__of_the_other_suite__are_refused_in_one_line() -> None:
    classic = generate_keypair()
    with pytest.raises(BadKey):
        seal(PLAIN, [classic.public], CONTEXT, suite=HYBRID)
    with pytest.raises(BadKey):
        seal(PLAIN, [PAIR.public], CONTEXT)
    with pytest.raises(BadKey):
        public_key(classic.secret, HYBRID)
    with pytest.raises(BadKey):
        open_envelope(SEALED, classic.secret, CONTEXT, len(PLAIN), experimental=True)
