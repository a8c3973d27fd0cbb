"""One sender for several DAOs: they share its key's nonces and its journal, and each names its intents by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from validator.chain.sender import Sender
from validator.chain.transactions import Intent, Receipt
from validator.chain.types import Call


class Sending(Protocol):
    """What a node asks of a sender (`validator.chain.sender.Sender`)."""

    @property
    def address(self) -> str:
        """The account that pays."""

    def simulate(self, call: Call) -> None:
        """Ask whether `call` would succeed now."""

    def send(self, call: Call, intent: str, timeout: float = 120.0) -> Receipt:
        """Do `call` once under the name `intent`."""

    def resume(self) -> Sequence[Intent]:
        """Look after everything unsettled."""


class ScopedSender:
    """`sender`, for one DAO: its intents are kept under `scope`, so that those of two DAOs are never taken for one.

    Nonces are chosen by the one sender behind all scopes, under its one lock.
    """

    def __init__(self, sender: Sender, scope: str) -> None:
        self._sender = sender
        self._scope = scope

    @property
    def address(self) -> str:
        """The account that pays."""
        return self._sender.address

    def simulate(self, call: Call) -> None:
        """Ask whether `call` would succeed now."""
        self._sender.simulate(call)

    def send(self, call: Call, intent: str, timeout: float = 120.0) -> Receipt:
        """Do `call` once under the name `intent` of this scope."""
        return self._sender.send(call, f"{self._scope}/{intent}", timeout)

    def resume(self) -> Sequence[Intent]:
        """Look after everything unsettled, of all scopes: they wait for each other's nonces."""
        return self._sender.resume()
