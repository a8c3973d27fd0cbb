"""What a stage may touch: one bundle of open resources, made once by the daemon, by a command, or by a test."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from web3 import Web3

from validator.chain.contracts.data_dao import DataDAO
from validator.chain.contracts.reward_pool import RewardPool
from validator.chain.contracts.scoring_rounds import ScoringRounds
from validator.chain.contracts.validator_set import ValidatorSet
from validator.chain.follower import Follower
from validator.chain.shared_sender import Sending
from validator.chain.signer import Signer
from validator.chain.types import Deployment
from validator.content import Store
from validator.influence.engine import IN_PROCESS, Engine
from validator.journal import Journal, SigningProtection
from validator.manifest import Manifest
from validator.rounds.lifecycle import RoundState
from validator.rounds.score import Progress
from validator.rounds.types import Carry
from validator.stages.backfill import Backfill
from validator.stages.chronicle import Chronicle

LATEST_ROUNDS = 8
"""Rounds whose manifests are kept, though they are over: those under way most likely have the same."""


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
class Reader:
    """Whose key grants this node can open. `hpke_secret`: 32 bytes, X25519."""

    operator: str
    hpke_secret: bytes


@dataclass(frozen=True, slots=True)
class Identity(Reader):
    """The one validator that this node speaks for; `hpke_secret` opens its own backups too."""

    signer: Signer
    sender: Sending
    protection: SigningProtection


@dataclass(frozen=True, slots=True)
class PeerRules:
    """Whether to read from other validators, and whether also from private addresses and by plain http."""

    used: bool = True
    private: bool = False


@dataclass(slots=True)
class Node:
    """Open resources. Without an `identity` the node signs and sends nothing (dry run); without a `reader` it cannot
    open contributions either, and only follows.

    With several DAOs in one process, `transactions` is the journal of the sender that they share, and `scoring` is held
    while one of them is scored. `unsettled` are the nonces that were under way at the last tick; `held` the
    contributions still to be judged whose envelopes are in our store, `fees_done` the rounds of which no fee is left to
    claim; `told` what was said of an attempt of a round (`first_time`).
    """

    w3: Web3
    deployment: Deployment
    contracts: Contracts
    follower: Follower
    journal: Journal
    store: Store
    """A LayeredStore in all but the tests of single stages: only that one has peers and an embedded store to sweep."""
    reader: Reader | None = None
    identity: Identity | None = None
    epoch_secrets: dict[int, bytes] = field(default_factory=dict)
    due_since: dict[str, float] = field(default_factory=dict)
    manifests: dict[bytes, Manifest] = field(default_factory=dict)
    held: set[int] = field(default_factory=set)
    fees_done: set[int] = field(default_factory=set)
    history_checked: int = -1
    grants_read: int = 0
    score_failures: dict[tuple[int, int], tuple[int, float]] = field(default_factory=dict)
    waits: dict[str, str] = field(default_factory=dict)
    told: set[tuple[str, int, int]] = field(default_factory=set)
    carry: Carry = field(default_factory=Carry)
    transactions: Journal | None = None
    scoring: threading.Lock = field(default_factory=threading.Lock)
    unsettled: tuple[int, ...] = ()
    backfill: Backfill = field(default_factory=Backfill)
    _chronicle: Chronicle | None = None
    peers: PeerRules = field(default_factory=PeerRules)
    peers_read: int = -1
    keep_seconds: int = 0
    released: set[int] = field(default_factory=set)
    release_place: tuple[int, int] = (0, 0)
    exit_delays: dict[int, int] = field(default_factory=dict)
    documents_pinned: set[bytes] = field(default_factory=set)
    swept_at: float = 0.0
    sweep_due: bool = False
    stagger_seconds: float = 6.0
    clock: Callable[[], float] = time.time
    progress: Progress | None = None
    engine: Engine = IN_PROCESS

    @property
    def chronicle(self) -> Chronicle:
        """Finalised events, as the rules read them."""
        if self._chronicle is None:
            self._chronicle = Chronicle(self.journal)
        return self._chronicle

    def close(self) -> None:
        """Close the files; idempotent."""
        self.journal.close()
        if self.transactions is not None:
            self.transactions.close()
        if self.identity is not None:
            self.identity.protection.close()

    def forget_chain(self) -> None:
        """After `Journal.rollback`: nothing that was derived from events still counts. What is named by a digest
        (documents, content, what earlier rounds handed on) means the same on every branch and stays.
        """
        self.chronicle.forget()
        self.epoch_secrets = {}
        self.due_since = {}
        self.score_failures = {}
        self.waits, self.told = {}, set()
        self.held, self.fees_done = set(), set()
        self.grants_read = 0
        self.history_checked = self.peers_read = -1
        self.released, self.release_place, self.exit_delays = set(), (0, 0), {}

    def let_go(self) -> None:
        """Forget what only mattered to rounds that are over."""
        rounds, first = self.chronicle.rounds(), self.chronicle.first_waiting
        under_way = {number for number, state in rounds.items() if state.final is None and not state.abandoned}
        self.held = {id_ for id_ in self.held if id_ >= first}
        self.score_failures = {key: told for key, told in self.score_failures.items() if key[0] in under_way}
        recent = {*under_way, *sorted(rounds)[-LATEST_ROUNDS:]}
        self.told = {what for what in self.told if what[1] in recent}
        in_use = {rounds[number].manifest for number in recent}
        self.manifests = {digest: known for digest, known in self.manifests.items() if digest in in_use}

    def first_time(self, what: str, state: RoundState) -> bool:
        """Whether this is new: a step is taken again at every tick until the block that it is in is final."""
        key = (what, state.round, state.attempt)
        new = key not in self.told
        self.told.add(key)
        return new

    def finalised_time(self) -> int:
        """Timestamp of the newest finalised block that was scanned, Unix seconds; 0 before the first scan."""
        mark = self.journal.mark()
        return mark.timestamp if mark else 0
