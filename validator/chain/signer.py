"""Keys: the port that everything signs through, and keystore files (Web3 Secret Storage, version 3)."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from eth_account import Account
from eth_keyfile.exceptions import EthKeyfileException
from eth_keyfile.keyfile import create_keyfile_json, decode_keyfile_json

from validator import strict_json
from validator.chain.errors import KeystoreError
from validator.chain.typed_data import TypedData

SECRET_SIZE = 32
FILE_LIMIT = 64 * 1024
# scrypt's N: the cost that geth uses for a key at rest (256 MiB, about a second), and its light one for demo networks
# (4 MiB).
STANDARD_COST = 1 << 18
LIGHT_COST = 1 << 12


class Signer(Protocol):
    """Whoever holds a secp256k1 key: a keystore here, a remote signer elsewhere."""

    @property
    def address(self) -> str:
        """The checksummed address of the key."""
        ...

    def sign_transaction(self, transaction: Mapping[str, Any]) -> bytes:
        """The raw signed transaction (EIP-2718) for web3-style fields."""
        ...

    def sign_typed_data(self, data: TypedData) -> bytes:
        """65 bytes: r, s, v (27 or 28)."""
        ...


class LocalSigner:
    """Signs with a key in memory."""

    def __init__(self, secret: bytes) -> None:
        try:
            self._account = Account.from_key(secret)
        except ValueError as error:
            raise KeystoreError(
                "this is not a secp256k1 secret: 32 bytes, above 0 and below the curve's order"
            ) from error

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.address})"

    @property
    def address(self) -> str:
        """The checksummed address of the key."""
        return str(self._account.address)

    def sign_transaction(self, transaction: Mapping[str, Any]) -> bytes:
        """The raw signed transaction."""
        return bytes(self._account.sign_transaction(dict(transaction)).raw_transaction)

    def sign_typed_data(self, data: TypedData) -> bytes:
        """65 bytes: r, s, v. Deterministic (RFC 6979): the same message gives the same signature."""
        return bytes(self._account.sign_message(data.signable).signature)


class KeystoreSigner(LocalSigner):
    """Signs with a key read from a keystore file."""

    @classmethod
    def load(cls, path: Path, password: str) -> KeystoreSigner:
        """The signer of the keystore at ``path``; KeystoreError says what is wrong with file or password."""
        return cls(read_keystore(path, password))


def create_keystore(path: Path, secret: bytes, password: str, *, light: bool = False) -> None:
    """Encrypt the 32-byte ``secret`` to a new file at ``path``, readable by the owner only; never overwrites.

    Any 32 bytes will do, so X25519 secrets are kept the same way. For that reason the file does not name an address: it
    would be meaningless for one curve, and it is public for the other. ``light`` uses a weak key derivation, for demo
    networks only.
    """
    if len(secret) != SECRET_SIZE:
        raise KeystoreError(f"a secret must have {SECRET_SIZE} bytes, not {len(secret)}")
    cost = LIGHT_COST if light else STANDARD_COST
    try:
        keyfile = create_keyfile_json(secret, password.encode(), kdf="scrypt", iterations=cost)
    except ValueError as error:
        raise KeystoreError(f"this secret cannot be kept in a keystore: {type(error).__name__}") from error
    keyfile.pop("address", None)
    _write_new(path, json.dumps(keyfile, indent=1, sort_keys=True).encode() + b"\n")


def read_keystore(path: Path, password: str) -> bytes:
    """The 32-byte secret in the keystore at ``path``."""
    try:
        with path.open("rb") as file:
            raw = file.read(FILE_LIMIT + 1)
    except OSError as error:
        raise KeystoreError(f"the keystore {path} cannot be read: {error.strerror}") from error
    try:
        if len(raw) > FILE_LIMIT:
            raise ValueError("too large")
        keyfile: Any = strict_json.loads(raw)
        secret = bytes(decode_keyfile_json(keyfile, password.encode()))
    except (EthKeyfileException, ValueError, KeyError, TypeError, AttributeError) as error:
        if "MAC" in str(error):
            raise KeystoreError(f"the password for the keystore {path} is wrong") from error
        raise KeystoreError(f"{path} is not a version 3 keystore: {type(error).__name__}: {error}") from error
    if len(secret) != SECRET_SIZE:
        raise KeystoreError(f"the keystore {path} holds {len(secret)} bytes, not {SECRET_SIZE}")
    return secret


def _write_new(path: Path, data: bytes) -> None:
    try:
        # O_EXCL: an existing key is never lost to a second run.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise KeystoreError(f"{path} already exists: move it away first, a keystore is never overwritten") from error
    except OSError as error:
        raise KeystoreError(f"the keystore {path} cannot be written: {error.strerror}") from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
