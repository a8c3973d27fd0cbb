"""The operator: join the validator set with a stake, and leave it."""

from __future__ import annotations

import time

from validator.actions.connect import Wallet
from validator.errors import ValidatorError


class OperatorError(ValidatorError):
    """The operator cannot do this now."""


def join(wallet: Wallet, hpke_key: bytes, stake: int) -> None:
    """Stake `stake` units of the stake token and become a validator, signing with the account's own key."""
    address = wallet.signer.address
    if any(wallet.contracts.validators.validator(address).hpke_key):
        raise OperatorError(f"{address} has joined already")
    if not wallet.contracts.dao.admitted(address):
        raise OperatorError(f"{address} is not admitted: ask the DAO's steward to run `validator dao admit {address}`")
    token = wallet.token(wallet.deployment.stake_token)
    balance = token.balance_of(address)
    if balance < stake:
        raise OperatorError(f"{address} holds {balance} units of the stake token, {stake} are needed")
    once = time.time_ns()
    wallet.sender.send(token.approve(wallet.deployment.validators, stake), intent=f"approve-stake/{once}")
    wallet.sender.send(wallet.contracts.validators.join(stake, address, hpke_key, b""), intent=f"join/{once}")
