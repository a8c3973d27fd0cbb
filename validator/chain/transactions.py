"""What a sender journals, and what it asks of the journal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from validator.chain.types import Call


@dataclass(frozen=True, slots=True)
class Fees:
    """EIP-1559 bids in wei per gas."""

    max_fee: int
    priority_fee: int


@dataclass(frozen=True, slots=True)
class Attempt:
    """One signed transaction. All attempts of an intent share its nonce, so at most one of them is ever mined."""

    hash: bytes
    raw: bytes
    fees: Fees


@dataclass(frozen=True, slots=True)
class Intent:
    """Something to be done once. ``key`` names it for ever, such as ``attest/7/1``; ``attempts`` are oldest first, at
    least one.
    """

    key: str
    chain_id: int
    sender: str
    nonce: int
    call: Call
    gas: int
    attempts: tuple[Attempt, ...]


class Outcome(StrEnum):
    """How an intent ended, in a final block."""

    MINED = "mined"
    """One attempt was mined and succeeded. The key is used up."""
    REVERTED = "reverted"
    """One attempt was mined and had no effect. The key may be prepared again."""
    DISPLACED = "displaced"
    """A transaction that is not in the journal took the nonce. The key may be prepared again."""


@dataclass(frozen=True, slots=True)
class Settled:
    """The last word on an intent; ``transaction_hash`` is of the mined attempt (None if displaced)."""

    intent: Intent
    outcome: Outcome
    transaction_hash: bytes | None


@dataclass(frozen=True, slots=True)
class Receipt:
    """A mined transaction. ``logs`` are in web3's shape: `events.EventDecoder.decode_all` reads them."""

    transaction_hash: bytes
    block: int
    block_hash: bytes
    succeeded: bool
    gas_used: int
    contract_address: str | None
    logs: tuple[Mapping[str, Any], ...]


class TransactionLog(Protocol):
    """The journal of one or more senders. Every writing method is durable (fsynced) when it returns, or raises and has
    changed nothing.

    Rows are told apart by (chain_id, sender). Two uniqueness rules hold: one unsettled intent for a nonce, and one
    intent per key that is unsettled or MINED. A journal that finds one broken in ``prepare`` must raise: it is what
    keeps one intent from being sent at two nonces.
    """

    def find(self, chain_id: int, sender: str, key: str) -> Intent | Settled | None:
        """The newest intent under ``key``: an Intent while unsettled, a Settled after, None if there never was one."""
        ...

    def unsettled(self, chain_id: int, sender: str) -> Sequence[Intent]:
        """Every intent without an outcome, with all its attempts, by nonce."""
        ...

    def next_nonce(self, chain_id: int, sender: str) -> int:
        """One above the highest nonce of any settled intent; 0 if there is none."""
        ...

    def horizon(self) -> int | None:
        """The height up to which this journal's reader has scanned: outcomes above it would not be rolled back with a
        reorganisation. None if nobody reads the chain into this journal.
        """
        ...

    def prepare(self, intent: Intent) -> None:
        """Store a new intent and its first attempt, in one transaction, before anything is sent."""
        ...

    def replaced(self, intent: Intent, attempt: Attempt) -> None:
        """Add ``attempt`` to a stored intent, before it is sent."""
        ...

    def settled(self, intent: Intent, outcome: Outcome, transaction_hash: bytes | None, block: int | None) -> None:
        """Store the outcome of an intent: final, never changed again. ``block`` is the height of the mined
        attempt, or the one at which the nonce was found displaced.
        """
        ...
