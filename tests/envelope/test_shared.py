from __future__ import annotations

import pytest

from validator.envelope import EnvelopeError, open_shared, seal_shared

SECRET, INFO = b"s" * 32, b"poc-probes/1"


@pytest.mark.parametrize("plaintext", [b"", b"x", b"y" * 100_000])
def test_seal_shared__every_holder_of_the_key__writes_the_same_bytes_and_reads_them_back(plaintext: bytes):
    sealed = seal_shared(SECRET, plaintext, INFO)
    assert sealed == seal_shared(SECRET, plaintext, INFO)
    assert open_shared(SECRET, sealed, INFO) == plaintext
    assert plaintext == b"" or plaintext not in sealed


def test_seal_shared__other_plaintext_key_or_purpose__shares_nothing():
    files = {seal_shared(*case)[:32] for case in ((SECRET, b"a", INFO), (SECRET, b"b", INFO), (b"t" * 32, b"a", INFO))}
    assert len(files | {seal_shared(SECRET, b"a", b"other")[:32]}) == 4


@pytest.mark.parametrize("at", [0, 31, 32, -1])
def test_open_shared__one_bit_flipped__is_refused(at: int):
    sealed = bytearray(seal_shared(SECRET, b"plain text", INFO))
    sealed[at] ^= 1
    with pytest.raises(EnvelopeError):
        open_shared(SECRET, bytes(sealed), INFO)


@pytest.mark.parametrize(
    ("secret", "info", "cut"), [(b"t" * 32, INFO, 999), (SECRET, b"other", 999), (SECRET, INFO, 40)]
)
def test_open_shared__wrong_key_wrong_purpose_or_cut__is_refused(secret: bytes, info: bytes, cut: int):
    with pytest.raises(EnvelopeError):
        open_shared(secret, seal_shared(SECRET, b"plain text", INFO)[:cut], info)
