"""Keystore files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from eth_account import Account

from validator.chain.devchain import derive_keys
from validator.chain.errors import KeystoreError
from validator.chain.signer import KeystoreSigner, LocalSigner, create_keystore, read_keystore

SECRET = derive_keys()[0].secret


def test_create_keystore__then_load__signs_with_the_same_key(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    create_keystore(path, SECRET, "correct horse", light=True)
    assert KeystoreSigner.load(path, "correct horse").address == derive_keys()[0].address
    assert path.stat().st_mode & 0o777 == 0o600


def test_create_keystore__any_other_client__can_open_it(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    create_keystore(path, SECRET, "correct horse", light=True)
    assert bytes(Account.decrypt(path.read_text(), "correct horse")) == SECRET


def test_create_keystore__x25519_secret__is_kept_and_no_address_is_written(tmp_path: Path) -> None:
    path = tmp_path / "hpke.json"
    create_keystore(path, b"\x05" * 32, "pw", light=True)
    assert read_keystore(path, "pw") == b"\x05" * 32
    assert "address" not in json.loads(path.read_text())


def test_create_keystore__file_exists__is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    path.write_text("precious")
    with pytest.raises(KeystoreError, match="already exists: move it away first"):
        create_keystore(path, SECRET, "pw", light=True)
    assert path.read_text() == "precious"


@pytest.mark.parametrize("secret", [b"", b"\x01" * 31, b"\x01" * 33])
def test_create_keystore__wrong_size__is_refused(tmp_path: Path, secret: bytes) -> None:
    with pytest.raises(KeystoreError, match="must have 32 bytes"):
        create_keystore(tmp_path / "key.json", secret, "pw", light=True)
    assert list(tmp_path.iterdir()) == []


def test_read_keystore__wrong_password__says_so(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    create_keystore(path, SECRET, "right", light=True)
    with pytest.raises(KeystoreError, match=r"the password for the keystore .* is wrong"):
        read_keystore(path, "wrong")


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"version": 3}', '{"version": 9}', "x" * 70_000])
def test_read_keystore__not_a_keystore__says_so(tmp_path: Path, content: str) -> None:
    path = tmp_path / "key.json"
    path.write_text(content)
    with pytest.raises(KeystoreError, match="is not a version 3 keystore"):
        read_keystore(path, "pw")


def test_read_keystore__missing__says_so(tmp_path: Path) -> None:
    with pytest.raises(KeystoreError, match="cannot be read: No such file"):
        read_keystore(tmp_path / "none.json", "pw")


@pytest.mark.parametrize("secret", [bytes(32), b"\xff" * 32, b"\x01"])
def test_local_signer__not_a_secp256k1_secret__is_refused(secret: bytes) -> None:
    with pytest.raises(KeystoreError, match="not a secp256k1 secret"):
        LocalSigner(secret)


def test_repr__never_shows_the_secret() -> None:
    assert SECRET.hex() not in repr(LocalSigner(SECRET))
