"""What a stage may touch: one bundle of open resources, made once by the daemon, by a command, or by a test."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from web3 import Web3

from validator.chain.contracts.data_dao import DataDAO
from validator.chain.contracts.reward_pool import RewardPool
from validator.chain.contracts.scoring_rounds import ScoringRounds
from validator.chain.contracts.validator_set import ValidatorSet
from validator.chain.follower import Follower
from validator.chain.sender import Sender
from validator.chain.signer import Signer
from validator.chain.types import Deployment
from validator.content import Store
from validator.journal import Journal, SigningProtection
from validator.journal.database import Row
from validator.manifest import Manifest
from validator.rounds.lifecycle import Fact, RoundState, fold


@dataclass(frozen=True, slots=True)
class Contracts:
    """The contracts of one DAO, as typed wrappers."""

    dao: DataDAO
    rounds: ScoringRounds
    validators: ValidatorSet
    pool: RewardPool

    @classmethod
    def of(cls, w3: Web3, deployment: Deployment) -> Contracts:
        """Wrappers for a deployment."""
        return cls(
            dao=DataDAO(w3, deployment.dao),
            rounds=ScoringRounds(w3, deployment.rounds),
            validators=ValidatorSet(w3, deployment.validators),
            pool=RewardPool(w3, deployment.pool),
        )


@dataclass(frozen=True, slots=True)
class Identity:
    """The one validator that this node speaks for. `hpke_secret`: 32 bytes, opens key grants and our own backups."""

    operator: str
    signer: Signer
    hpke_secret: bytes
    sender: Sender
    protection: SigningProtection


@dataclass(slots=True)
class Node:
    """Open resources. Without an `identity` the node watches and scores but signs and sends nothing (dry run)."""

    w3: Web3
    deployment: Deployment
    contracts: Contracts
    follower: Follower
    journal: Journal
    store: Store
    identity: Identity | None = None
    epoch_secrets: dict[int, bytes] = field(default_factory=dict)
    due_since: dict[str, float] = field(default_factory=dict)
    manifests: dict[bytes, Manifest] = field(default_factory=dict)
    stagger_seconds: float = 6.0
    clock: Callable[[], float] = time.time
    progress: Callable[[int, int], None] | None = None

    def facts(self, *names: str) -> list[Fact]:
        """Finalised events as the rules read them."""
        return [to_fact(row) for row in self.journal.events(*names)]

    def rounds(self) -> dict[int, RoundState]:
        """Every round as finalised events tell it."""
        return fold(self.facts(*ROUND_EVENTS))

    def finalised_time(self) -> int:
        """Timestamp of the newest finalised block that was scanned, Unix seconds; 0 before the first scan."""
        mark = self.journal.mark()
        return mark.timestamp if mark else 0


ROUND_EVENTS = (
    "RoundOpened",
    "RoundClosed",
    "SeedDrawn",
    "AvailabilityReported",
    "Committed",
    "Attested",
    "RoundFinalised",
    "RoundRetried",
    "RoundAbandoned",
)


def to_fact(row: Row) -> Fact:
    """A journalled event in the terms of the rules: addresses in lower case, so that equal means equal."""
    return Fact(row.name, {key: lower_addresses(value) for key, value in row.args.items()})


def lower_addresses(value: Any) -> Any:  # noqa: ANN401 - event arguments are what the ABI says
    """Checksummed addresses inside event arguments to lower case."""
    if isinstance(value, str) and len(value) == 42 and value.startswith("0x"):
        return value.lower()
    if isinstance(value, dict):
        return {key: lower_addresses(item) for key, item in value.items()}
    return value
