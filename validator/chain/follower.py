"""Reads the chain forward: the finalised events of one deployment, in order, from where the last scan ended.

A checkpoint means "scanned to here", whether or not anything was found, and carries the block's hash. If that hash has
changed the chain was reorganised below what was taken for final; the caller is told how far to roll back before
anything else is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import structlog
from hexbytes import HexBytes
from web3 import Web3
from web3.types import FilterParams

from validator.chain.errors import RpcFault, RpcRefusal
from validator.chain.events import EventDecoder
from validator.chain.finality import Finality as Finality
from validator.chain.finality import heights
from validator.chain.ranges import FIRST_RANGE, LogRanges, RangeMemory
from validator.chain.rpc import pool_of, understood
from validator.chain.types import Deployment, Event

MOST_BLOCKS = 50_000
MOST_EVENTS = 10_000
"""A scan ends with the range that brings it to so many, for its caller to store them: they are in memory until then."""

Watch = Callable[[int, int], None]
"""Told how far a scan has come: the height reached, and the last final one."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Everything up to and including block ``number`` has been scanned; ``hash`` is that block's."""

    number: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """What one scan found.

    ``events`` are in chain order. ``checkpoint`` is where the next scan goes on (None: from the start). ``head`` and
    ``finalised`` are the heights of the newest and of the last final block. ``rollback_to`` is a height: undo
    everything above it, then scan again. ``timestamp`` is that of the checkpoint's block if it was read in this scan,
    in Unix seconds, else 0.
    """

    events: tuple[Event, ...]
    checkpoint: Checkpoint | None
    head: int
    finalised: int
    rollback_to: int | None = None
    timestamp: int = 0

    @property
    def caught_up(self) -> bool:
        """Whether every finalised block has been scanned."""
        return self.checkpoint is not None and self.rollback_to is None and self.checkpoint.number >= self.finalised


class Followed(Protocol):
    """What is followed: ``block`` is the first that can hold an event of it."""

    @property
    def block(self) -> int:
        """A height."""


class LogDecoder(Protocol):
    """Turns logs into events. ``topics``: the events that are asked for, by their first topic; None for all of them."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """The contracts whose logs are decoded."""

    @property
    def topics(self) -> tuple[bytes, ...] | None:
        """32 bytes each."""

    def decode(self, log: Mapping[str, Any]) -> Event:
        """One log in web3's shape; RpcFault or UnknownEvent."""


class Follower:
    """Follows ``deployment`` over ``w3``, one endpoint a scan, so that what one scan says is of one chain.

    ``finality`` is the chain's own tag, or a depth in blocks below the head for chains without one. The size of the log
    ranges halves when the endpoint refuses; ``memory`` keeps what worked beyond this object's life. One scan covers at
    most ``most_blocks`` blocks, so that its caller can store and be stopped in between. ``watch`` is told the height
    that was reached and the last final one, after every range. ``decoder`` where what is followed is no DAO of ours.
    """

    def __init__(
        self,
        w3: Web3,
        deployment: Deployment | Followed,
        finality: Finality = "finalized",
        *,
        first_range: int = FIRST_RANGE,
        most_blocks: int = MOST_BLOCKS,
        memory: RangeMemory | None = None,
        watch: Watch | None = None,
        decoder: LogDecoder | None = None,
    ) -> None:
        self._w3 = w3
        self._pool = pool_of(w3)
        self._deployment = deployment
        if decoder is None:
            assert isinstance(deployment, Deployment), "internal error: logs of others need a decoder"
            decoder = EventDecoder(deployment)
        self._decoder = decoder
        self._finality = finality
        self._most_blocks = most_blocks
        self._ranges = LogRanges(memory, first_range)
        self._watch = watch

    @property
    def range(self) -> int:
        """How many blocks the endpoint in use is asked about at once."""
        return self._ranges.blocks(self._pool.pinned_key)

    def scan(self, checkpoint: Checkpoint | None, earlier: Sequence[Checkpoint] = ()) -> Batch:
        """The next events after ``checkpoint`` (None: from the deployment's first block).

        ``earlier`` are older checkpoints the caller still has, newest first: after a reorganisation the newest that
        still stands is where to roll back to; without any, everything is scanned again. Raises RpcFault if every
        endpoint fails or contradicts itself (nothing is lost: scan again), UnknownEvent if a log cannot be decoded.
        """
        return self._pool.consistently(lambda: self._scan(checkpoint, earlier))

    def _scan(self, checkpoint: Checkpoint | None, earlier: Sequence[Checkpoint]) -> Batch:
        head, finalised = heights(self._w3, self._finality)
        if checkpoint is not None and checkpoint.number > finalised:
            # A lagging endpoint, or one behind a balancer: it knows less than was read before. Not a reorganisation.
            return Batch((), checkpoint, head, finalised)
        if checkpoint is not None and not self._stands(checkpoint):
            self._pool.confirm_reorganisation(checkpoint.number, checkpoint.hash)
            return self._rollback(checkpoint, earlier, head, finalised)
        start = checkpoint.number + 1 if checkpoint is not None else self._deployment.block
        if start > finalised:
            return Batch((), checkpoint, head, finalised)
        end = min(finalised, start + self._most_blocks - 1)
        events, reached, timestamp = self._read(start, end, checkpoint, finalised)
        self._pool.anchor(reached.number, reached.hash)
        return Batch(events, reached, head, finalised, timestamp=timestamp)

    def _stands(self, checkpoint: Checkpoint) -> bool:
        return self._block(checkpoint.number)[0] == checkpoint

    def _block(self, number: int) -> tuple[Checkpoint, int]:
        """A block as a checkpoint, and its timestamp."""
        with understood(f"block {number}"):
            header = self._w3.eth.get_block(number)
            return Checkpoint(number, bytes(header["hash"])), int(header["timestamp"])

    def _rollback(self, checkpoint: Checkpoint, earlier: Sequence[Checkpoint], head: int, finalised: int) -> Batch:
        _log.warning("chain reorganised below finality", block=checkpoint.number, hash=checkpoint.hash.hex())
        for candidate in earlier:
            if candidate.number < checkpoint.number and self._stands(candidate):
                return Batch((), candidate, head, finalised, rollback_to=candidate.number)
        return Batch((), None, head, finalised, rollback_to=self._deployment.block - 1)

    def _read(
        self, start: int, end: int, link: Checkpoint | None, finalised: int
    ) -> tuple[tuple[Event, ...], Checkpoint, int]:
        """The events of the blocks ``start`` to ``end``, which follow upon ``link``; the last block and its time."""
        events: list[Event] = []
        while True:
            last = min(end, start + self.range - 1)
            reached, timestamp = self._block(last)
            found = self._events(start, last)
            if found is None:
                continue
            # Both ends must stand after the logs were read, or they are a mixture of two chains. A block's hash vouches
            # for all before it.
            moved = not self._stands(reached) or (link is not None and not self._stands(link))
            if moved or any(event.block == last and event.block_hash != reached.hash for event in found):
                raise RpcFault(f"the chain was reorganised while blocks {start} to {last} were read: scan again")
            events.extend(found)
            if self._watch is not None:
                self._watch(last, finalised)
            if last == end or len(events) >= MOST_EVENTS:
                return tuple(events), reached, timestamp
            start, link = last + 1, reached

    def _events(self, start: int, last: int) -> list[Event] | None:
        """The events of a range in order, or None if the range must be smaller."""
        endpoint, size = self._pool.pinned_key, last - start + 1
        try:
            logs = self._logs(start, last)
        except RpcRefusal as refusal:
            if size == 1:
                raise
            self._ranges.refused(endpoint, size)
            _log.info("smaller log ranges", blocks=self.range, reason=str(refusal))
            return None
        except RpcFault:
            # Some endpoints time out where others refuse. One that is down would have failed at the header before.
            self._ranges.slow(endpoint, size)
            raise
        found = self._ordered(logs, start, last)
        self._ranges.worked(endpoint, size, len(found))
        return found

    def _logs(self, start: int, last: int) -> Sequence[Mapping[str, Any]]:
        wanted = cast(FilterParams, {"address": self._decoder.addresses, "fromBlock": start, "toBlock": last})
        if self._decoder.topics is not None:
            wanted["topics"] = [[HexBytes(topic) for topic in self._decoder.topics]]
        with understood(f"logs of blocks {start} to {last}"):
            return self._w3.eth.get_logs(wanted)

    def _ordered(self, logs: Sequence[Mapping[str, Any]], start: int, last: int) -> list[Event]:
        with understood(f"logs of blocks {start} to {last}"):
            events = sorted(
                (self._decoder.decode(log) for log in logs), key=lambda event: (event.block, event.log_index)
            )
        if events and not (start <= events[0].block and events[-1].block <= last):
            raise RpcFault(f"the endpoint sent logs from outside of the blocks {start} to {last} that were asked for")
        if len({(event.block, event.log_index) for event in events}) != len(events):
            raise RpcFault(f"the endpoint sent a log of the blocks {start} to {last} twice")
        return events
