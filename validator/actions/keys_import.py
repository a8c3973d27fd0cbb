"""A home around an account key that exists already, such as one that holds funds."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from validator.actions.home import ACCOUNT, HPKE, HomeError, Identifiers, identifiers, password, write_private
from validator.chain.signer import LocalSigner, create_keystore
from validator.envelope import generate_keypair
from validator.settings import Settings

_LIMIT = 4096


def import_account(settings: Settings, file: Path, *, light: bool = False) -> Identifiers:
    """Keep the private key in `file` as this home's account, encrypted, and make an HPKE key and a password if there
    are none yet.

    No signing history comes to be: whether the key has signed before, only its owner knows. Raises HomeError for a file
    that others can read, or that holds no key, and where the home has an account already.
    """
    home = settings.home.expanduser()
    if (home / ACCOUNT).exists():
        raise HomeError(f"{home / ACCOUNT} exists already and is not overwritten; move it away first")
    secret = _read_secret(file)
    (home / "keys").mkdir(parents=True, exist_ok=True, mode=0o700)
    if settings.password_file is None and not (home / "password").exists():
        write_private(home / "password", secrets.token_urlsafe(24).encode() + b"\n")
    words = password(settings)
    if not (home / HPKE).exists():  # the account comes last: an import that broke off can be done again
        create_keystore(home / HPKE, generate_keypair().secret, words, light=light)
    create_keystore(home / ACCOUNT, secret, words, light=light)
    return identifiers(settings)


def _read_secret(file: Path) -> bytes:
    with file.open("rb") as stream:
        mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
        text = stream.read(_LIMIT + 1).strip()
    if mode & 0o077:
        raise HomeError(f"others may read or write {file} (mode {mode:o}): `chmod 600` it, if nobody has seen the key")
    try:
        secret = bytes.fromhex(text.decode("ascii").removeprefix("0x"))
    except ValueError:  # the file's words must not appear in any message
        secret = b""
    if len(secret) != 32:
        raise HomeError(f"{file} holds no private key: 64 hex digits, with or without 0x before them")
    LocalSigner(secret)  # refuses what is no secp256k1 secret
    return secret
