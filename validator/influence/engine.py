"""Where work is done: pure tasks over shards, in this process or wherever else somebody computes.

An estimator says what is to be computed, as a function of this package that takes shared values and one shard; an
engine says where. What shards give comes back in their order and is put together here, in a fixed order or by exact
sums. Under exact arithmetic no shard depends on another, so neither the cut nor the place changes a bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Protocol, TypeVar

Shard = TypeVar("Shard")
Found = TypeVar("Found")

Done = Callable[[int, Any], None]
"""Called with the position of a shard and what it gave, as each is finished, in any order; must not raise."""


class Engine(Protocol):
    """Maps tasks over shards."""

    @property
    def width(self) -> int:
        """How many shards are worked on at once: whoever cuts work cuts it into about as many, or more."""
        ...

    def map(
        self,
        task: Callable[..., Found],
        shared: tuple[object, ...],
        shards: Sequence[Shard],
        done: Done | None = None,
    ) -> list[Found]:
        """`task(*shared, shard)` of every shard, in the order of the shards.

        `task` is a module's function of `validator.influence`, enters `exact()` itself and has no effects: it may be
        computed elsewhere, and again if its answer is lost. `shared` values are sent once while they stay the same
        objects, and must not be changed after they were sent. Raises what a task raises.
        """
        ...


class InProcess:
    """One shard after the other, here."""

    width = 1

    def map(
        self,
        task: Callable[..., Found],
        shared: tuple[object, ...],
        shards: Sequence[Shard],
        done: Done | None = None,
    ) -> list[Found]:
        """See `Engine`."""
        found = []
        for position, shard in enumerate(shards):
            found.append(task(*shared, shard))
            if done is not None:
                done(position, found[-1])
        return found


IN_PROCESS = InProcess()


def cut(count: int, pieces: int, longest: int | None = None) -> list[range]:
    """0 .. `count` as ranges of nearly equal length: at most `pieces` of them, more where none may exceed `longest`;
    none when `count` is 0.
    """
    wanted = max(1, min(pieces, count), -(-count // longest) if longest else 1)
    edges = [count * piece // wanted for piece in range(wanted + 1)]
    return [range(start, end) for start, end in pairwise(edges) if end > start]
