"""The prover's key: made for this purpose alone, and refused where it has any other.

What Vana has it sign names neither chain nor contract nor file, so that a signature made for one thing may be shown as
another. A key that also signs attestations or holds a stake must therefore never come near it.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

from eth_account import Account

from validator.actions.home import ACCOUNT, HomeError, account, attester, new_password, password
from validator.chain.signer import create_keystore, read_keystore
from validator.chain.vana import VanaKey
from validator.envelope.eccrypto import public_key
from validator.journal import ProtectionError, SigningProtection
from validator.settings import Settings
from validator.stages.keyring import EpochKeys
from validator.stages.vana.node import ARCHIVE_EPOCH

KEY, ARCHIVE, HISTORY = "keys/vana.json", "keys/vana-archive.json", "vana-protection.sqlite"


@dataclass(frozen=True, slots=True)
class ProverKey:
    """The public halves: what the TeePool's maintainer registers, and what files are encrypted to (65 bytes)."""

    address: str
    public: bytes


def create(settings: Settings, *, light: bool = False, ask: bool = False) -> ProverKey:
    """A new prover's key, a key for what is kept, and an empty signing history. Raises when any of them exists."""
    for name in (KEY, ARCHIVE, HISTORY):
        if settings.path(name).exists():
            raise HomeError(f"{settings.path(name)} exists already and is not overwritten; move it away first")
    settings.path("keys").mkdir(parents=True, exist_ok=True, mode=0o700)
    words = new_password(settings, ask=ask)
    for name in (KEY, ARCHIVE):
        create_keystore(settings.path(name), secrets.token_bytes(32), words, light=light)
    SigningProtection(settings.path(HISTORY), create=True).close()
    return shown(secret_of(settings))


def shown(secret: bytes) -> ProverKey:
    """The public halves of a secret."""
    return ProverKey(str(Account.from_key(secret).address), public_key(secret))


def secret_of(settings: Settings) -> bytes:
    """The prover's secret, 32 bytes."""
    return read_keystore(_existing(settings, KEY), password(settings))


def archive_of(settings: Settings) -> EpochKeys:
    """What seals the records that were paid for, and the probes."""
    return EpochKeys({ARCHIVE_EPOCH: read_keystore(_existing(settings, ARCHIVE), password(settings))})


def signing_key(settings: Settings) -> tuple[VanaKey, SigningProtection]:
    """The key and its history, for whoever signs. Raises HomeError for a key that has another use, ProtectionError for
    a history that is missing, held by another process, or of another chain.
    """
    secret = secret_of(settings)
    refuse_shared(settings, shown(secret).address)
    path = settings.path(HISTORY)
    if not path.exists():
        raise ProtectionError(
            f"{path} is missing: restore it from a backup, or rebuild it from the chain (`validator vana "
            "rebuild-history`); it is never made anew for a key that may have signed"
        )
    return VanaKey(secret), SigningProtection(path)


def check_one_chain(history: SigningProtection, chain_id: int) -> None:
    """Raise ProtectionError if the key has signed for another chain: its signatures there would hold here as well."""
    others = sorted(history.chains() - {chain_id})
    if others:
        raise ProtectionError(
            f"this key has signed proofs on chain {others[0]}, which hold on chain {chain_id} just as well: "
            "make a home and a key of its own for each chain"
        )


def refuse_shared(settings: Settings, address: str) -> None:
    """Raise HomeError if the prover's key is one that this node uses elsewhere."""
    for use, other in other_uses(settings):
        if other.lower() == address.lower():
            raise HomeError(
                f"{address} is {use}: what Vana has a key sign holds on every chain and for other files too, so "
                "it must be a key for nothing else; make one with `validator vana create-key`"
            )


def other_uses(settings: Settings) -> list[tuple[str, str]]:
    """(what for, address) of every key that must not be the prover's."""
    found = [("named in vana_never_sign_with", one.strip()) for one in settings.vana_never_sign_with.split(",") if one]
    named = (("the remote signer's account", settings.signer_address), ("its signing key", settings.signing_address))
    found += [(use, address) for use, address in named if address]
    if settings.path(ACCOUNT).exists():
        own = account(settings)
        found += [
            ("this validator's account", own.address),
            ("this validator's signing key", attester(settings, own).address),
        ]
    return found


def _existing(settings: Settings, name: str) -> Path:
    path = settings.path(name)
    if not path.exists():
        raise HomeError(f"{path} is missing: make it with `validator vana create-key`, or set --home to where it is")
    return path
