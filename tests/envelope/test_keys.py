from __future__ import annotations

import os

import pytest

from validator.envelope import (
    BadKey,
    Grant,
    generate_keypair,
    open_backup,
    public_key,
    seal_backup,
    unwrap_secret,
    wrap_secret,
)
from validator.envelope.keys import derive, key_id

EPOCH, OPERATOR = generate_keypair(), generate_keypair()
GRANT = Grant(31_337, "0x" + "c0" * 20, 3, "0x" + "0b" * 20)


def test_public_key__rfc_7748_vector__matches() -> None:
    # RFC 7748 section 6.1, Alice.
    secret = bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")

    assert public_key(secret).hex() == "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"


@pytest.mark.parametrize("secret", [b"", b"x" * 31, b"x" * 33])
def test_public_key__wrong_length__is_refused(secret: bytes) -> None:
    with pytest.raises(BadKey):
        public_key(secret)


def test_repr__of_keys__shows_no_secret() -> None:
    derived = derive(os.urandom(32), b"info")

    assert EPOCH.secret.hex() not in repr(EPOCH)
    assert str(EPOCH.secret) not in repr(EPOCH)
    assert str(derived.chunk_key) not in repr(derived)


def test_derive__other_dek_or_other_info__changes_everything() -> None:
    dek = os.urandom(32)
    base, other_info, other_dek = derive(dek, b"a"), derive(dek, b"b"), derive(os.urandom(32), b"a")

    for name in ("chunk_key", "nonce_prefix", "commitment"):
        assert len({getattr(base, name), getattr(other_info, name), getattr(other_dek, name)}) == 3
    assert (len(base.chunk_key), len(base.nonce_prefix), len(base.commitment)) == (32, 7, 32)


def test_key_id__different_keys__differ() -> None:
    assert key_id(EPOCH.public) != key_id(OPERATOR.public)
    assert len(key_id(EPOCH.public)) == 16


def test_unwrap_secret__our_grant__gives_the_epoch_secret() -> None:
    wrapped = wrap_secret(EPOCH.secret, OPERATOR.public, GRANT)

    assert len(wrapped) == 80
    assert unwrap_secret(wrapped, OPERATOR.secret, GRANT, EPOCH.public) == EPOCH.secret


@pytest.mark.parametrize(
    "grant",
    [
        Grant(1, GRANT.contract, 3, GRANT.operator),
        Grant(31_337, "0x" + "c1" * 20, 3, GRANT.operator),
        Grant(31_337, GRANT.contract, 4, GRANT.operator),
        Grant(31_337, GRANT.contract, 3, "0x" + "0c" * 20),
    ],
)
def test_unwrap_secret__granted_for_something_else__is_refused(grant: Grant) -> None:
    wrapped = wrap_secret(EPOCH.secret, OPERATOR.public, GRANT)

    with pytest.raises(BadKey, match="does not open"):
        unwrap_secret(wrapped, OPERATOR.secret, grant, EPOCH.public)


def test_unwrap_secret__somebody_elses_key_or_damage__is_refused() -> None:
    wrapped = wrap_secret(EPOCH.secret, OPERATOR.public, GRANT)

    for data, secret in [
        (wrapped, EPOCH.secret),
        (wrapped[:-1], OPERATOR.secret),
        (wrapped + b"x", OPERATOR.secret),
        (b"", OPERATOR.secret),
        (bytes(80), OPERATOR.secret),
    ]:
        with pytest.raises(BadKey, match="does not open"):
            unwrap_secret(data, secret, GRANT, EPOCH.public)


def test_unwrap_secret__dao_granted_another_secret__is_told_from_damage() -> None:
    wrapped = wrap_secret(os.urandom(32), OPERATOR.public, GRANT)

    with pytest.raises(BadKey, match="another key than the chain shows"):
        unwrap_secret(wrapped, OPERATOR.secret, GRANT, EPOCH.public)


@pytest.mark.parametrize("public", [b"", b"x" * 31, bytes(32), b"\x01" + bytes(31)])
def test_wrap_secret__broken_operator_key__is_refused(public: bytes) -> None:
    with pytest.raises(BadKey):
        wrap_secret(EPOCH.secret, public, GRANT)


def test_open_backup__ours__gives_the_note() -> None:
    sealed = seal_backup(OPERATOR.secret, b"n" * 484, b"round 1")

    assert len(sealed) == 512
    assert open_backup(OPERATOR.secret, sealed, b"round 1") == b"n" * 484
    assert seal_backup(OPERATOR.secret, b"n" * 484, b"round 1") != sealed


def test_seal_backup__more_than_a_commit_carries__is_refused() -> None:
    with pytest.raises(BadKey, match="512"):
        seal_backup(OPERATOR.secret, b"n" * 485, b"")


def test_open_backup__other_round_key_or_damage__is_refused() -> None:
    sealed = seal_backup(OPERATOR.secret, b"note", b"round 1")
    flipped = sealed[:-1] + bytes((sealed[-1] ^ 1,))

    for secret, data, info in [
        (OPERATOR.secret, sealed, b"round 2"),
        (EPOCH.secret, sealed, b"round 1"),
        (OPERATOR.secret, flipped, b"round 1"),
        (OPERATOR.secret, b"", b"round 1"),
        (OPERATOR.secret, bytes(10_000), b"round 1"),
        (b"short", sealed, b"round 1"),
    ]:
        with pytest.raises(BadKey):
            open_backup(secret, data, info)
