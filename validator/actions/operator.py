"""The operator: join the validator set with a stake, add to it, and leave."""

from __future__ import annotations

import time
from dataclasses import dataclass

from validator.actions.connect import Wallet
from validator.chain.signer import Signer
from validator.chain.typed_data import signer_consent
from validator.chain.types import Validator
from validator.errors import ValidatorError


class OperatorError(ValidatorError):
    """The operator cannot do this now."""


@dataclass(frozen=True, slots=True)
class Leaving:
    """An exit under way: `stake` units of the stake token can be withdrawn from `withdrawable_at` (Unix seconds) on."""

    stake: int
    withdrawable_at: int
    asked_before: bool


def join(wallet: Wallet, hpke_key: bytes, stake: int, attester: Signer | None = None) -> None:
    """Stake `stake` units of the stake token and become a validator, signing with `attester` or the account's own key.

    A signing key serves once: whoever left and comes back needs a new one.
    """
    address, attester = wallet.signer.address, attester or wallet.signer
    if any(wallet.contracts.validators.validator(address).hpke_key):
        raise OperatorError(f"{address} has joined already")
    if not wallet.contracts.dao.admitted(address):
        raise OperatorError(f"{address} is not admitted: ask the DAO's steward to run `validator dao admit {address}`")
    _unused(wallet, attester)
    consent = b""
    if attester.address != address:
        place = wallet.deployment
        consent = attester.sign_typed_data(signer_consent(place.chain_id, place.validators, address))
    once = time.time_ns()
    _approve(wallet, stake, once)
    call = wallet.contracts.validators.join(stake, attester.address, hpke_key, consent)
    wallet.sender.send(call, intent=f"join/{once}")


def _unused(wallet: Wallet, attester: Signer) -> None:
    owner = wallet.contracts.validators.operator_of(attester.address)
    if int(owner, 16):
        whose = "this operator, which has left" if owner == wallet.signer.address else owner
        raise OperatorError(
            f"the signing key {attester.address} stays with {whose}, for what it signed: make a new one with "
            "`validator keys signing-create` (or set signing_address to another key of the remote signer), then join"
        )


def top_up(wallet: Wallet, amount: int) -> int:
    """Add `amount` units of the stake token to the account's stake, and return the stake there is now."""
    _member(wallet, staying=True)
    once = time.time_ns()
    _approve(wallet, amount, once)
    receipt = wallet.sender.send(wallet.contracts.validators.top_up(amount), intent=f"top-up/{once}")
    return wallet.contracts.validators.stake_of(wallet.signer.address, receipt.block)


def request_exit(wallet: Wallet) -> Leaving:
    """Give up all weight from the open round on, and start the exit delay. Once asked for, it is only looked up."""
    member = _member(wallet)
    if member.exit_at:
        return Leaving(member.stake, member.exit_at, asked_before=True)
    call = wallet.contracts.validators.request_exit()
    receipt = wallet.sender.send(call, intent=f"exit/{time.time_ns()}")
    member = wallet.contracts.validators.validator(wallet.signer.address, receipt.block)
    return Leaving(member.stake, member.exit_at, asked_before=False)


def withdraw(wallet: Wallet) -> int:
    """Take the stake back after the exit delay, once no round under way counts it. Returns what was paid out."""
    member = _member(wallet)
    wallet.sender.send(wallet.contracts.validators.withdraw(), intent=f"withdraw-stake/{member.exit_at}")
    return member.stake


def _member(wallet: Wallet, *, staying: bool = False) -> Validator:
    """The account as a validator; asked before tokens are approved for a call that would be refused."""
    address = wallet.signer.address
    member = wallet.contracts.validators.validator(address)
    if not any(member.hpke_key):
        raise OperatorError(f"{address} is not a validator: there is no stake of it in the set")
    if staying and member.exit_at:
        raise OperatorError(f"{address} is leaving the set: withdraw the stake, then join again")
    return member


def _approve(wallet: Wallet, amount: int, once: int) -> None:
    address = wallet.signer.address
    token = wallet.token(wallet.deployment.stake_token)
    balance = token.balance_of(address)
    if balance < amount:
        raise OperatorError(f"{address} holds {balance} units of the stake token, {amount} are needed")
    wallet.sender.send(token.approve(wallet.deployment.validators, amount), intent=f"approve-stake/{once}")
