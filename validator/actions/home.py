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
import sqlite3
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
    for name in (ACCOUNT, HPKE, PROTECTION):  # all of them first: half a set of keys could not be completed later
        if (home / name).exists():
            raise HomeError(f"{home / name} exists already and is not overwritten; move it away first")
    (home / "keys").mkdir(parents=True, exist_ok=True, mode=0o700)
    if settings.password_file is None and not (home / "password").exists():
        write_private(home / "password", secrets.token_urlsafe(24).encode() + b"\n")
    words = password(settings)
    create_keystore(home / ACCOUNT, secrets.token_bytes(32), words, light=light)
    create_keystore(home / HPKE, generate_keypair().secret, words, light=light)
    SigningProtection(home / PROTECTION, create=True).close()
    return identifiers(settings)


def password(settings: Settings) -> str:
    """The password of all keystores in this home; an empty one would protect nothing."""
    try:
        words = settings.password()
    except UnicodeDecodeError:
        raise HomeError("the password file is not UTF-8 text") from None
    if not words:
        raise HomeError("the password file is empty; write a password into it")
    return words


def identifiers(settings: Settings) -> Identifiers:
    """The public halves of the keys in this home."""
    return Identifiers(account(settings).address, public_key(hpke_secret(settings)))


def account(settings: Settings) -> KeystoreSigner:
    """The signer of this home's account key."""
    return KeystoreSigner.load(_existing(settings, ACCOUNT), password(settings))


def hpke_secret(settings: Settings) -> bytes:
    """This home's X25519 secret, 32 bytes."""
    return read_keystore(_existing(settings, HPKE), password(settings))


def has_keys(settings: Settings) -> bool:
    """Whether `create_keys` was run here."""
    return settings.path(ACCOUNT).exists()


def save_epoch(settings: Settings, epoch: int, secret: bytes, *, light: bool = False) -> None:
    """Keep the secret of a key epoch, encrypted."""
    create_keystore(settings.path(epoch_name(epoch)), secret, password(settings), light=light)


def load_epoch(settings: Settings, epoch: int) -> bytes:
    """The secret of a key epoch that this home published."""
    path = settings.path(epoch_name(epoch))
    if not path.exists():
        raise HomeError(f"{path} is missing: only the home that published key epoch {epoch} can hand it out")
    return read_keystore(path, password(settings))


def epoch_name(epoch: int) -> str:
    """Where in a home the secret of a key epoch is kept."""
    return f"keys/epoch-{epoch}.json"


def import_history(settings: Settings, file: Path) -> int:
    """Add an exported signing history to this home's; returns the number of entries. If this home has none yet, one
    comes to be only when all of `file` is sound: a node must never take a failed import for an empty history.
    """
    path = settings.path(PROTECTION)
    text = _history_text(file)
    if path.exists():
        return _merge(SigningProtection(path), text, file)
    fresh = path.with_suffix(".importing")
    fresh.unlink(missing_ok=True)
    try:
        count = _merge(SigningProtection(fresh, create=True), text, file)
        fresh.rename(path)
    finally:
        fresh.unlink(missing_ok=True)
    return count


def _history_text(file: Path) -> str:
    try:
        return file.read_text()
    except UnicodeDecodeError:
        raise HomeError(f"{file} is not a signing history: not UTF-8 text") from None


def _merge(history: SigningProtection, text: str, file: Path) -> int:
    try:
        return history.merge(text)
    except (sqlite3.Error, OverflowError, TypeError):
        raise HomeError(f"{file} is not a signing history: it holds a digest or a number of the wrong size") from None
    finally:
        history.close()


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
