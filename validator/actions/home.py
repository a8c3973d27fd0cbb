"""A home: the folder that holds one party's keys, configuration and journal.

<home>/validator.toml      options; see validator.settings
<home>/password            one line, mode 0600, or VALIDATOR_PASSWORD_FILE
<home>/keys/account.json   secp256k1: sends transactions and signs attestations (keystore v3)
<home>/keys/hpke.json      X25519: opens key grants and our own backups (same format)
<home>/keys/epoch-N.json   X25519 secret of key epoch N (the steward's home only)
<home>/protection.sqlite   what was signed
<home>/journal.sqlite      everything else that must not be forgotten
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from validator.chain.signer import KeystoreSigner, create_keystore, read_keystore
from validator.envelope import generate_keypair, public_key
from validator.errors import ValidatorError
from validator.journal import SigningProtection
from validator.settings import CONFIG_NAME, Settings

ACCOUNT, HPKE, PROTECTION = "keys/account.json", "keys/hpke.json", "protection.sqlite"


class HomeError(ValidatorError):
    """The home lacks something, or holds something that must not be overwritten."""


@dataclass(frozen=True, slots=True)
class Identifiers:
    """The public halves of a home's keys: account address, and HPKE public key."""

    address: str
    hpke_key: bytes


def create_keys(settings: Settings, *, light: bool = False) -> Identifiers:
    """New account and HPKE keys, their password if there is none yet, and an empty signing history.

    `light` weakens the key derivation, for demonstration networks only. Raises when any of them exists.
    """
    home = settings.home.expanduser()
    (home / "keys").mkdir(parents=True, exist_ok=True, mode=0o700)
    if settings.password_file is None and not (home / "password").exists():
        write_private(home / "password", secrets.token_urlsafe(24).encode() + b"\n")
    password = settings.password()
    create_keystore(home / ACCOUNT, secrets.token_bytes(32), password, light=light)
    create_keystore(home / HPKE, generate_keypair().secret, password, light=light)
    SigningProtection(home / PROTECTION, create=True).close()
    return identifiers(settings)


def identifiers(settings: Settings) -> Identifiers:
    """The public halves of the keys in this home."""
    return Identifiers(account(settings).address, public_key(hpke_secret(settings)))


def account(settings: Settings) -> KeystoreSigner:
    """The signer of this home's account key."""
    return KeystoreSigner.load(_existing(settings, ACCOUNT), settings.password())


def hpke_secret(settings: Settings) -> bytes:
    """This home's X25519 secret, 32 bytes."""
    return read_keystore(_existing(settings, HPKE), settings.password())


def has_keys(settings: Settings) -> bool:
    """Whether `create_keys` was run here."""
    return settings.path(ACCOUNT).exists()


def save_epoch(settings: Settings, epoch: int, secret: bytes, *, light: bool = False) -> None:
    """Keep the secret of a key epoch, encrypted."""
    create_keystore(settings.path(f"keys/epoch-{epoch}.json"), secret, settings.password(), light=light)


def load_epoch(settings: Settings, epoch: int) -> bytes:
    """The secret of a key epoch that this home published."""
    return read_keystore(_existing(settings, f"keys/epoch-{epoch}.json"), settings.password())


def write_config(settings: Settings, **options: str | int | float) -> Path:
    """Write `validator.toml` with these options; refuses to overwrite."""
    path = settings.home.expanduser() / CONFIG_NAME
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    lines = [f"{key} = {_toml(value)}" for key, value in options.items()]
    write_private(path, ("\n".join(lines) + "\n").encode())
    return path


def write_private(path: Path, data: bytes) -> None:
    """A new file that only its owner can read; an existing one is never overwritten."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise HomeError(f"{path} exists already and is not overwritten; move it away first") from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


def _toml(value: str | int | float) -> str:
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return str(value)


def _existing(settings: Settings, name: str) -> Path:
    path = settings.path(name)
    if not path.exists():
        raise HomeError(f"{path} is missing: create keys with `validator keys create`, or set --home to where they are")
    return path
