"""What the server knows: the chain's finalised events, and the documents that they name. The only file here that reads.

The chain is asked for news at most once a second, whoever asks; a failure is remembered just as long, so a dead
endpoint is not waited for by every request in turn. Documents are named by their digest and cannot change, so they are
kept; the last few suffice.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar, cast

from eth_abi.exceptions import EncodingError

from validator.actions.connect import View
from validator.chain.follower import Checkpoint
from validator.chain.rpc import understood
from validator.chain.types import Event, Parameters
from validator.content import Cid, root
from validator.errors import ValidatorError
from validator.manifest import Manifest
from validator.rounds.evidence import Evidence, EvidenceError
from validator.rounds.lifecycle import Fact
from validator.rounds.merkle import Tree
from validator.rounds.types import Status
from validator.stages.chronicle import to_fact
from validator.stages.discover import to_row
from validator.stages.documents import load_manifest, read_evidence
from validator.web.ledger import Ledger, LedgerError

FRESH_SECONDS = 1.0
CATCH_UP_SECONDS = 5.0
KEPT_DOCUMENTS = 24
KEPT_ANSWERS = 4096
FAULT_SECONDS = 20.0
SYMBOL_LETTERS = 12

T = TypeVar("T")


class NotReadYet(ValidatorError):
    """A long chain is still being read for the first time."""


@dataclass(frozen=True, slots=True)
class Known:
    """The finalised chain at one moment: events up to `block`, whose timestamp is `time` (Unix seconds)."""

    ledger: Ledger
    block: int
    time: int


@dataclass(frozen=True)
class Bundle:
    """An evidence bundle with what is derived from it. `inputs`, of what was judged, and `scores` are in order of id,
    `earnings` in order of address.
    """

    evidence: Evidence
    cid: Cid
    inputs: Tree
    scores: Tree
    earnings: Tree

    @cached_property
    def input_index(self) -> Mapping[int, int]:
        """Where a contribution stands among those judged, by its id."""
        judged = (line for line in self.evidence.contributions if line.included)
        return {line.id: index for index, line in enumerate(judged)}

    @cached_property
    def account_index(self) -> Mapping[str, int]:
        """Where an account stands in the list of earnings."""
        return {account: index for index, (account, _) in enumerate(self.evidence.earnings)}

    @cached_property
    def tally(self) -> Mapping[str, int]:
        """How many contributions have which status, by the status's name and in the order of its code."""
        counted = Counter(line.status for line in self.evidence.contributions)
        return {status.name.lower(): counted[status] for status in Status if counted[status]}

    @cached_property
    def ranks(self) -> Mapping[int, int]:
        """Place of each scored contribution, 1 for the highest score."""
        scored = [line for line in self.evidence.contributions if line.records]
        ordered = sorted(scored, key=lambda line: (-line.raw, line.id))
        return {line.id: place for place, line in enumerate(ordered, start=1)}


@dataclass(frozen=True, slots=True)
class Money:
    """A token for people: its symbol as its contract says (hostile until escaped), and its decimals."""

    symbol: str
    decimals: int


class Source:
    """Reads for the explorer. Safe to share between threads."""

    def __init__(self, view: View, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` in seconds, monotonic."""
        self.view = view
        self._clock = clock
        self._follower = view.follower()
        self._ledger = Ledger()
        self._checkpoint: Checkpoint | None = None
        self._lock = threading.Lock()
        self._asked = float("-inf")
        self._known: Known | None = None
        self._fault: ValidatorError | None = None
        self._documents: OrderedDict[tuple[str, bytes], Any] = OrderedDict()
        self._missing: dict[tuple[str, bytes], tuple[float, ValidatorError]] = {}
        self._answers: OrderedDict[Hashable, Any] = OrderedDict()
        self._momentary: dict[Hashable, Any] = {}

    def known(self) -> Known:
        """The finalised chain, at most FRESH_SECONDS old. Raises RpcFault, or NotReadYet."""
        with self._lock:
            if self._clock() - self._asked >= FRESH_SECONDS:
                self._refresh()
                self._asked = self._clock()
            if self._fault is not None:
                raise self._fault.with_traceback(None)  # else each raise would lengthen it
            assert self._known is not None
            return self._known

    def bundle(self, digest: bytes) -> Bundle:
        """The evidence bundle that an attestation names. Raises ContentError or EvidenceError."""
        return self._document("evidence", digest, lambda: _open_bundle(self.view, digest))

    def manifest(self, digest: bytes) -> Manifest:
        """The manifest that the chain names. Raises ContentError or ManifestError."""
        return self._document("manifest", digest, lambda: load_manifest(self.view.store, digest))

    def parameters(self, number: int) -> Parameters:
        """The parameters that a round latched when it opened."""
        return self.answer(("parameters", number), lambda: self.view.contracts.rounds.parameters_of(number))

    def opened_at(self, number: int) -> int:
        """When a round opened, Unix seconds."""
        return self.answer(("opened", number), lambda: self.view.contracts.rounds.round_info(number).opened_at)

    def money(self, address: str) -> Money:
        """Symbol and decimals of the token at `address`."""

        def ask() -> Money:
            token = self.view.token(address)
            return Money(token.symbol()[:SYMBOL_LETTERS], min(token.decimals(), 77))

        return self.answer(("money", address), ask)

    def answer(self, key: Hashable, ask: Callable[[], T], keep: Callable[[T], bool] = lambda _: True) -> T:
        """An answer that stays true once `keep` holds for it, asked for once."""
        if key not in self._answers:
            found = ask()
            if not keep(found):
                return found
            self._answers[key] = found
            if len(self._answers) > KEPT_ANSWERS:
                self._answers.popitem(last=False)
            return found
        return cast(T, self._answers[key])

    def momentary(self, key: Hashable, ask: Callable[[], T]) -> T:
        """An answer that holds until the chain is next asked for news."""
        momentary = self._momentary
        if key not in momentary:
            momentary[key] = ask()
        return cast(T, momentary[key])

    def _refresh(self) -> None:
        try:
            self._known, self._fault = self._catch_up(), None
        except ValidatorError as fault:
            self._fault = fault
            if isinstance(fault, LedgerError):
                self._start_over()  # a batch was taken up in part
        self._momentary = {}

    def _catch_up(self) -> Known:
        deadline = self._clock() + CATCH_UP_SECONDS
        while True:
            batch = self._follower.scan(self._checkpoint)
            if batch.rollback_to is not None:
                self._start_over()
                continue
            self._ledger.take(_facts(batch.events))
            self._checkpoint = batch.checkpoint
            if batch.checkpoint is None:
                raise NotReadYet("the chain has no final block of this DAO yet; try again in a moment")
            if batch.caught_up:
                return Known(self._ledger, batch.checkpoint.number, self._timestamp(batch.checkpoint.number))
            if self._clock() > deadline:
                raise NotReadYet(f"block {batch.checkpoint.number} of {batch.finalised} is read; try again in a moment")

    def _start_over(self) -> None:
        """After a reorganisation below finality: nothing that was read from the chain still counts."""
        self._ledger, self._checkpoint, self._answers = Ledger(), None, OrderedDict()

    def _timestamp(self, block: int) -> int:
        if self._known is not None and self._known.block == block:
            return self._known.time
        with understood(f"block {block}"):
            return int(self.view.w3.eth.get_block(block)["timestamp"])

    def _document(self, kind: str, digest: bytes, load: Callable[[], T]) -> T:
        key = (kind, digest)
        held = self._documents.get(key)
        if held is None:
            when, fault = self._missing.get(key, (float("-inf"), None))
            if fault is not None and self._clock() - when < FAULT_SECONDS:
                raise fault.with_traceback(None)
            try:
                held = load()
            except ValidatorError as refused:
                self._missing[key] = (self._clock(), refused)
                raise
            self._missing.pop(key, None)
            self._documents[key] = held
            if len(self._documents) > KEPT_DOCUMENTS:
                self._documents.popitem(last=False)  # the one read longest ago
        return cast(T, held)


def _open_bundle(view: View, digest: bytes) -> Bundle:
    """Read a bundle and build its trees: what has no leaf is refused here, once, and not by the page that shows it."""
    evidence = read_evidence(view.store, digest)
    try:
        trees = evidence.inputs_tree(), evidence.scores_tree(), evidence.earnings_tree()
    except EncodingError as error:
        raise EvidenceError(f"evidence refused: a value does not fit its leaf: {error}") from None
    return Bundle(evidence, root(evidence.to_bytes()), *trees)


def _facts(events: tuple[Event, ...]) -> list[Fact]:
    return [to_fact(to_row(event)) for event in events]
