"""The prover's key is one for nothing else, of one chain, and its history is never made anew."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from validator.actions.backup import backup
from validator.actions.found import RECORD_KEY
from validator.actions.home import ACCOUNT, SIGNING, HomeError, write_config
from validator.actions.restore import restore
from validator.actions.vana.keys import ARCHIVE, HISTORY, KEY, check_one_chain, create, secret_of, signing_key
from validator.chain.signer import LocalSigner, create_keystore
from validator.journal import Journal, ProtectionError
from validator.journal.protection import Slot
from validator.settings import Settings, load_settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = load_settings(tmp_path / "home")
    create(made, light=True)
    return made


def test_create__new_home__has_files_for_its_owner_alone(settings: Settings):
    for name in (KEY, ARCHIVE, HISTORY):
        assert settings.path(name).stat().st_mode & 0o077 == 0
    key, history = signing_key(settings)
    history.close()
    assert key.address == LocalSigner(secret_of(settings)).address
    assert secret_of(settings).hex() not in repr(key)


def test_create__again__overwrites_nothing(settings: Settings):
    before = settings.path(KEY).read_bytes()

    with pytest.raises(HomeError, match="exists already"):
        create(settings, light=True)

    assert settings.path(KEY).read_bytes() == before


@pytest.mark.parametrize("name", [ACCOUNT, SIGNING])
def test_signing_key__that_is_the_validators_own__is_refused(settings: Settings, name: str):
    secret = secret_of(settings)
    create_keystore(settings.path(name), secret, settings.password(), light=True)
    if name != ACCOUNT:
        create_keystore(settings.path(ACCOUNT), secrets.token_bytes(32), settings.password(), light=True)

    with pytest.raises(HomeError, match="it must be a key for nothing else"):
        signing_key(settings)


@pytest.mark.parametrize("option", ["vana_never_sign_with", "signer_address", "signing_address"])
def test_signing_key__named_in_the_settings_for_another_use__is_refused(settings: Settings, option: str):
    address = LocalSigner(secret_of(settings)).address
    value = f"0x{'1' * 40}, {address.lower()}" if option == "vana_never_sign_with" else address.lower()
    write_config(settings, **{option: value})

    with pytest.raises(HomeError, match="it must be a key for nothing else"):
        signing_key(load_settings(settings.home))


def test_signing_key__history_missing__is_never_made_anew(settings: Settings):
    settings.path(HISTORY).unlink()

    with pytest.raises(ProtectionError, match="rebuild-history"):
        signing_key(settings)

    assert not settings.path(HISTORY).exists()


def test_signing_key__held_by_another_process__is_refused(settings: Settings):
    _, history = signing_key(settings)
    with pytest.raises(ProtectionError, match="is another validator running with it"):
        signing_key(settings)
    history.close()


def test_backup__of_a_prover__comes_back_whole_but_for_a_history_that_the_chain_knows(
    settings: Settings, tmp_path: Path
):
    Journal(settings.path("vana.sqlite")).close()
    create_keystore(settings.path(RECORD_KEY), b"k" * 32, settings.password(), light=True)
    backup(settings, tmp_path / "saved", keys=True)
    again = load_settings(tmp_path / "again")

    restore(again, tmp_path / "saved", alone=False)
    again.path("password").write_text(settings.password())

    assert secret_of(again) == secret_of(settings)
    assert again.path("vana.sqlite").exists()
    with pytest.raises(ProtectionError, match="rebuild-history"):
        signing_key(again)


def test_one_chain__key_that_has_signed_on_another__is_refused(settings: Settings):
    key, history = signing_key(settings)
    history.register(Slot(14800, "0x" + "1" * 40, key.address, 5, 7), b"\x01" * 32)

    check_one_chain(history, 14800)
    with pytest.raises(ProtectionError, match="a home and a key of its own for each chain"):
        check_one_chain(history, 1480)
    history.close()
