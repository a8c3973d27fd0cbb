"""What these stages may touch: one bundle of open resources, made once by a command or by a test."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from web3 import Web3

from validator.chain.follower import Follower
from validator.chain.shared_sender import Sending
from validator.chain.vana import Contracts, Place, VanaKey
from validator.content import Store
from validator.journal import Journal, SigningProtection
from validator.manifest import Manifest
from validator.payload import ParsingWorker
from validator.rounds.types import Carry
from validator.stages.documents import Judgement
from validator.stages.keyring import EpochKeys
from validator.stages.vana.open import worker

ARCHIVE_EPOCH = 0
"""The key epoch of what this node seals for itself: probes, and the records that it has paid for."""


@dataclass(frozen=True, slots=True)
class Prover:
    """What signs and sends. Without one nothing is signed or sent (dry run)."""

    key: VanaKey
    sender: Sending
    protection: SigningProtection


@dataclass(slots=True)
class VanaNode:
    """Open resources. `account` is whom files are granted to, `secret` its private key (32 bytes); `archive` seals what
    is kept. `read_url` reads a plain URL up to a number of bytes. `claim_wei`: fees are taken when they come to so much
    (0: never by itself).
    """

    w3: Web3
    place: Place
    contracts: Contracts
    follower: Follower
    journal: Journal
    store: Store
    manifest: Manifest
    judgement: Judgement
    account: str
    secret: bytes
    archive: EpochKeys
    read_url: Callable[[str, int], bytes]
    prover: Prover | None = None
    claim_wei: int = 0
    carry: Carry = field(default_factory=Carry)
    bundles: list[bytes] | None = None
    """Digests of the evidence of every file judged so far, in order; None until they are read from the journal."""
    waits: dict[int, str] = field(default_factory=dict)
    """Why each job is not done yet."""
    retries: dict[int, tuple[int, float]] = field(default_factory=dict)
    """Failures of a job so far, and when it is tried again."""
    refused: dict[int, int] = field(default_factory=dict)
    """Files whose granted key does not open them, and how many grants there had been then."""
    clock: Callable[[], float] = time.time
    process: ParsingWorker = field(default_factory=worker)

    def __repr__(self) -> str:
        return f"VanaNode({self.place}, {self.account})"

    def close(self) -> None:
        """Close the files and end the worker; idempotent."""
        self.process.close()
        self.journal.close()
        if self.prover is not None:
            self.prover.protection.close()

    def forget_chain(self) -> None:
        """After a rollback: nothing that was derived from events still counts."""
        self.carry, self.bundles = Carry(), None
        self.waits, self.retries, self.refused = {}, {}, {}
