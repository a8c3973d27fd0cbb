"""How much to compute at once: found by running a little and counting bytes.

No number here may reach a score. What is batched (records against probes, queries in a fit, contributions in training)
never meets inside a batch under exact arithmetic, so a batch changes speed and memory and no bit. What does meet, the
rows of the anchor in a sum, is cut by the estimators' own `rows` instead.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from validator.influence.problem import Problem
from validator.influence.records import Records

MOST_BYTES = 64 << 20
"""Budget on a CPU, where more only leaves the caches: the speed is the same from some MiB on."""
_SHARE = 4
"""At most the fourth part of the memory that is free."""
_TRIALS = (1, 3)
"""Batches that are run to see what one item takes: their difference is the slope, the rest is what all share."""


class Meter(TorchDispatchMode):
    """Counts the bytes of tensors made inside: `live` now, `peak` at most. Enter it before exact(), to see its work."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live, self.peak = 0, 0
        self._seen: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def __torch_dispatch__(
        self, func: OpOverload, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> object:
        """Run the operator and count what it made: storages that were not among its arguments."""
        self._seen.update(_storages((args, kwargs)))
        result = func(*args, **(kwargs or {}))
        for storage in _storages(result):
            if storage not in self._seen:
                self._seen.add(storage)
                self.live += storage.nbytes()
                self.peak = max(self.peak, self.live)
                weakref.finalize(storage, self._free, storage.nbytes())
        return result

    def _free(self, size: int) -> None:
        self.live -= size


def _storages(values: object) -> list[torch.UntypedStorage]:
    leaves = [values] if isinstance(values, Tensor) else tree_leaves(values)
    return [leaf.untyped_storage() for leaf in leaves if isinstance(leaf, Tensor)]


def budget(device: torch.device | None = None) -> int:
    """Bytes that a batch may take here."""
    if device is not None and device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free) // _SHARE
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(1, min(MOST_BYTES, free // _SHARE))


def batch_size(run: Callable[[int], object], most: int, limit: int | None = None, shared: int = 0) -> int:
    """The largest batch, 1 .. `most`, that `run(batch)` can be expected to compute within `limit` bytes (`budget()`).

    `run` is called for one item and, where that does not settle it, for three; it must do what it will do for more. The
    memory of a batch is taken to grow by the same bytes with each item, which is what a batch of equal items does;
    `shared` bytes an item come on top of what `run` shows.
    """
    room = budget() if limit is None else limit
    if most <= _TRIALS[1]:
        return max(1, most)
    small = _peak(run, _TRIALS[0])
    if (small + shared) * most <= room:
        return most
    large = _peak(run, _TRIALS[1])
    each = max(1, (large - small) // (_TRIALS[1] - _TRIALS[0]) + shared)
    return max(1, min(most, (room - small) // each + 1))


def anchor_like(problem: Problem, count: int) -> Records:
    """`count` records of the anchor's kind for a trial: the anchor's own, over and over."""
    return problem.anchor.select(torch.arange(count) % len(problem.anchor))


def _peak(run: Callable[[int], object], count: int) -> int:
    with Meter() as meter:
        run(count)
    return int(meter.peak)
