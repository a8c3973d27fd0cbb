"""A home: the folder that holds one party's keys, configuration and journal.

<home>/validator.toml      options; see validator.settings
<home>/password            one line, mode 0600, or VALIDATOR_PASSWORD_FILE
<home>/keys/account.json   secp256k1: sends transactions and signs attestations (keystore v3)
<home>/keys/signing.json   secp256k1: signs attestations in the account's place, where there is one
<home>/keys/hpke.json      X25519: opens key grants and our own backups (same format)
<home>/keys/epoch-N.json   X25519 secret of key epoch N (the steward's home only)
<home>/protection.sqlite   what was signed
<home>/journal.sqlite      everything else that must not be forgotten
"""

from __future__ import annotations

import getpass
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from validator.chain.remote_signer import RemoteAccess, RemoteSigner
from validator.chain.signer import KeystoreSigner, Signer, create_keystore, read_keystore
from validator.envelope import generate_keypair, public_key
from validator.errors import ValidatorError
from validator.journal import SigningProtection
from validator.journal.interchange import INTERCHANGE_LIMIT
from validator.settings import CONFIG_NAME, Settings

ACCOUNT, HPKE, PROTECTION = "keys/account.json", "keys/hpke.json", "protection.sqlite"
SIGNING = "keys/signing.json"


class HomeError(ValidatorError):
    """The home lacks something, or holds something that must not be overwritten."""


@dataclass(frozen=True, slots=True)
class Identifiers:
    """The public halves of a home's keys: account address, HPKE public key, and the address that signs attestations."""

    address: str
    hpke_key: bytes
    signing_address: str


def create_keys(settings: Settings, *, light: bool = False, ask: bool = False) -> Identifiers:
    """New account and HPKE keys, their password if there is none yet, and an empty signing history.

    No account key where a remote signer holds it. With `ask` the password is asked for on the terminal and kept
    nowhere. `light` weakens the key derivation, for demonstration networks only. Raises when any of them exists.
    """
    home = settings.home.expanduser()
    for name in (ACCOUNT, HPKE, PROTECTION):  # all of them first: half a set of keys could not be completed later
        if (home / name).exists():
            raise HomeError(f"{home / name} exists already and is not overwritten; move it away first")
    if settings.signer_url:
        account(settings)  # refuses an address or a URL that will not do, before anything is written
    (home / "keys").mkdir(parents=True, exist_ok=True, mode=0o700)
    words = new_password(settings, ask=ask)
    if not settings.signer_url:
        create_keystore(home / ACCOUNT, secrets.token_bytes(32), words, light=light)
    create_keystore(home / HPKE, generate_keypair().secret, words, light=light)
    SigningProtection(home / PROTECTION, create=True).close()
    return identifiers(settings)


def create_signing_key(settings: Settings, *, light: bool = False) -> str:
    """A key of its own for attestations, in the account's place; returns its address. Raises when there is one."""
    create_keystore(settings.path(SIGNING), secrets.token_bytes(32), password(settings), light=light)
    return attester(settings).address


def new_password(settings: Settings, *, ask: bool) -> str:
    """The home's password; made, or asked for with `ask`, where there is none yet."""
    if ask:
        if not sys.stdin.isatty():
            raise HomeError("a password can only be asked for on a terminal; without one, set VALIDATOR_PASSWORD_FILE")
        if settings.password_path().exists():
            raise HomeError(f"{settings.password_path()} holds a password already; move it away to be asked instead")
        words = _asked(str(settings.home))
        if getpass.getpass("The same again: ") != words:
            raise HomeError("the two passwords differ; nothing was made")
    elif settings.password_file is None and not settings.path("password").exists():
        write_private(settings.path("password"), secrets.token_urlsafe(24).encode() + b"\n")
    return password(settings)


@cache  # a process opens several keystores, and asks once
def _asked(home: str) -> str:
    return getpass.getpass(f"Password of the keys in {home}: ")


def password(settings: Settings) -> str:
    """The password of all keystores in this home, from its file, or else asked for on the terminal if there is one. An
    empty one would protect nothing.
    """
    if settings.password_file is None and not settings.password_path().exists() and sys.stdin.isatty():
        words = _asked(str(settings.home))
        if not words:
            raise HomeError("an empty password protects nothing")
        return words
    try:
        words = settings.password()
    except UnicodeDecodeError:
        raise HomeError("the password file is not UTF-8 text") from None
    if not words:
        raise HomeError("the password file is empty; write a password into it")
    return words


def identifiers(settings: Settings) -> Identifiers:
    """The public halves of the keys in this home."""
    main = account(settings)
    return Identifiers(main.address, public_key(hpke_secret(settings)), attester(settings, main).address)


def account(settings: Settings) -> Signer:
    """The signer of this home's account key: a remote one if `signer_url` names it, a keystore otherwise."""
    if settings.signer_url:
        return _remote(settings, settings.signer_address, "signer_address")
    return KeystoreSigner.load(_existing(settings, ACCOUNT), password(settings))


def attester(settings: Settings, main: Signer | None = None) -> Signer:
    """The signer of this home's attestations: a key of its own where there is one, else the account's, `main`."""
    if settings.signing_address:
        return _remote(settings, settings.signing_address, "signing_address")
    if settings.path(SIGNING).exists():
        return KeystoreSigner.load(settings.path(SIGNING), password(settings))
    return main or account(settings)


def _remote(settings: Settings, address: str, name: str) -> RemoteSigner:
    if not settings.signer_url or not address:
        lacking = "signer_url" if not settings.signer_url else name
        raise HomeError(f"a remote signer needs {lacking}: set it in {CONFIG_NAME}")
    access = RemoteAccess(
        url=settings.signer_url,
        timeout=settings.signer_timeout,
        token_file=settings.signer_token_file,
        ca_file=settings.signer_ca_file,
        certificate_file=settings.signer_certificate_file,
    )
    return RemoteSigner(access, address)


def hpke_secret(settings: Settings) -> bytes:
    """This home's X25519 secret, 32 bytes."""
    return read_keystore(_existing(settings, HPKE), password(settings))


def has_keys(settings: Settings) -> bool:
    """Whether `create_keys` was run here."""
    return settings.path(ACCOUNT).exists() or bool(settings.signer_url)


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
    with file.open("rb") as stream:
        raw = stream.read(INTERCHANGE_LIMIT + 1)
    with whole_history(settings) as history:
        return history.merge(raw)


@contextmanager
def whole_history(settings: Settings) -> Iterator[SigningProtection]:
    """This home's signing history, to be added to. One that is new takes its place only if the block ends well."""
    path = settings.path(PROTECTION)
    fresh = None if path.exists() else path.with_suffix(".new")
    if fresh is not None:
        fresh.unlink(missing_ok=True)
    history = SigningProtection(fresh or path, create=fresh is not None)
    try:
        yield history
        history.close()
        if fresh is not None:
            fresh.rename(path)
    finally:
        history.close()
        if fresh is not None:
            fresh.unlink(missing_ok=True)


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
