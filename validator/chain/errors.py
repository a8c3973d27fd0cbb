"""What can go wrong between this node and a chain. Each message is one line for the operator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from validator.errors import ValidatorError


class ChainError(ValidatorError):
    """Base of this room's errors."""


class RpcFault(ChainError):
    """The endpoint did not answer, answered too late, or answered nonsense. Worth trying again; never a verdict on
    anybody.
    """


class RpcRefusal(RpcFault):
    """The endpoint answered with a JSON-RPC error that is not a revert. ``code`` and ``reason`` are its words."""

    def __init__(self, message: str, code: int, reason: str) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason


class WrongChain(ChainError):
    """The endpoint serves another chain than the one configured."""


class Reverted(ChainError):
    """A contract refused a call. ``name`` and ``arguments`` are its custom error's; the message says what to do.

    ``name`` is "Error" or "Panic" for Solidity's built-in errors, and "" when the endpoint gave no data. ``data`` is
    the raw revert data.
    """

    def __init__(self, name: str, arguments: Mapping[str, Any], sentence: str, data: bytes = b"") -> None:
        super().__init__(sentence)
        self.name = name
        self.arguments = dict(arguments)
        self.data = data


class NotOurContracts(ChainError):
    """An address does not hold the contracts that this version was built for, or they do not belong together."""


class UnknownEvent(ChainError):
    """A contract of ours has emitted a log that this version cannot decode: going on would mean to skip it."""


class SendError(ChainError):
    """A transaction could not be brought onto the chain."""


class NotMinedYet(SendError):
    """The wait ended before the transaction was mined. It stays journalled at its nonce; the same intent may be sent
    again to go on waiting.
    """


class FeeTooHigh(SendError):
    """The chain asks more for gas than the configured cap allows."""


class InsufficientFunds(SendError):
    """The sending key cannot pay for gas and value."""


class NonceTaken(SendError):
    """Another program has used the nonce of a journalled transaction with the same key."""


class IntentConflict(SendError):
    """An intent was sent again with another call than the one journalled under its name: a bug of the caller."""


class KeystoreError(ChainError):
    """A keystore file is missing, malformed, already there, or the password is wrong."""


class SignerFault(ChainError):
    """The remote signer did not answer, refused, or answered with something that is no signature of our key."""
