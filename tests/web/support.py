"""Views of the played DAO that behave as a hostile or unlucky world would."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import TypeVar

from web3 import Web3
from web3.types import RPCEndpoint, RPCResponse

from validator.actions.connect import View, view_of
from validator.chain.errors import RpcFault
from validator.chain.follower import Batch, Checkpoint, Follower
from validator.chain.pool import Pool
from validator.chain.types import Event

T = TypeVar("T")
DEAD = "http://127.0.0.1:9"


class Line(Pool):
    """A connection that can be cut and mended."""

    cut = False

    def make_request(self, method: RPCEndpoint, params: object) -> RPCResponse:
        if self.cut:
            raise RpcFault(f"{DEAD} did not answer {method}:\nconnection refused")
        return super().make_request(method, params)

    def consistently(self, work: Callable[[], T]) -> T:
        return work() if self.cut else super().consistently(work)


def over(view: View, line: Pool) -> View:
    """The same DAO over another connection."""
    return view_of(Web3(line), view.deployment, view.store, view.finality)


class Script(Follower):
    """Hands out prepared batches, then none."""

    def __init__(self, batches: Iterable[Batch]) -> None:
        self._batches = list(batches)

    def scan(self, checkpoint: Checkpoint | None, earlier: Sequence[Checkpoint] = ()) -> Batch:
        if self._batches:
            return self._batches.pop(0)
        assert checkpoint is not None
        return Batch((), checkpoint, checkpoint.number, checkpoint.number)


@dataclass(frozen=True, slots=True)
class Scripted(View):
    """A view whose events are prepared; everything else is the chain's."""

    script: Script

    def follower(self) -> Follower:
        return self.script


def scripted(view: View, batches: Iterable[Batch], **changes: object) -> Scripted:
    """`view` with prepared events, and whatever else `changes` says."""
    parts = {field.name: getattr(view, field.name) for field in fields(View)}
    return Scripted(**{**parts, **changes}, script=Script(batches))


def event(contract: str, name: str, **args: object) -> Event:
    """A decoded event; where it stood does not matter here."""
    return Event(1, bytes(32), 0, bytes(32), contract, name, args)


def batch(*events: Event, number: int = 1, finalised: int | None = None, rollback_to: int | None = None) -> Batch:
    """One scan's worth of events up to block `number`."""
    end = number if finalised is None else finalised
    return Batch(events, Checkpoint(number, bytes(32)), end, end, rollback_to)
