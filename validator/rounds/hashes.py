"""A set of keyed record hashes that takes little more than their own bytes.

Over the life of a DAO there are tens of millions of them; a Python set takes eighty bytes for each sixteen.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

HASH_BYTES = 16
"""Bytes of a keyed record hash: a repeat is missed or claimed by accident with probability below n^2 / 2^129 for n
records, and the key is secret.
"""

_KIND = np.dtype(f"S{HASH_BYTES}")
_Run = np.ndarray[Any, Any]


class Hashes:
    """An immutable set of hashes of HASH_BYTES each.

    They stand in sorted runs, each at least twice as long as the next: adding a few costs about the few, looking one
    up a search in each of a few runs. NumPy compares these strings byte by byte and takes zero bytes at their end for
    padding, which equal lengths make harmless.
    """

    __slots__ = ("_runs",)

    def __init__(self, runs: tuple[_Run, ...] = ()) -> None:
        """Of sorted runs; use `of` for hashes in any order."""
        self._runs = runs

    @classmethod
    def of(cls, hashes: Iterable[bytes]) -> Hashes:
        """Of hashes in any order, repeats allowed."""
        return cls().union(b"".join(hashes))

    def union(self, packed: bytes) -> Hashes:
        """These and the hashes that `packed` holds one after the other, in any order."""
        run = np.unique(np.frombuffer(packed, _KIND))
        if not len(run):
            return self
        runs = [*self._runs, run]
        while len(runs) > 1 and len(runs[-2]) < 2 * len(runs[-1]):
            last = runs.pop()
            runs[-1] = np.unique(np.concatenate([runs[-1], last]))
        return Hashes(tuple(runs))

    def holds(self, hashes: Sequence[bytes]) -> list[bool]:
        """Of each of `hashes` whether it is here."""
        wanted = np.frombuffer(b"".join(hashes), _KIND)
        found = np.zeros(len(wanted), bool)
        for run in self._runs:
            places = np.searchsorted(run, wanted)
            found |= run[np.minimum(places, len(run) - 1)] == wanted
        return [bool(one) for one in found]

    def __contains__(self, one: bytes) -> bool:
        return self.holds([one])[0]

    def __len__(self) -> int:
        return len(self._whole())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Hashes) and np.array_equal(self._whole(), other._whole())

    def __hash__(self) -> int:
        return hash(self._whole().tobytes())

    def _whole(self) -> _Run:
        return np.unique(np.concatenate([np.empty(0, _KIND), *self._runs]))


def is_ascending(packed: bytes) -> bool:
    """Whether the hashes that `packed` holds stand in ascending order, each once."""
    found = np.frombuffer(packed, _KIND)
    return bool((found[:-1] < found[1:]).all())


def ascending(packed: bytes) -> bytes:
    """The same hashes in ascending order."""
    return np.sort(np.frombuffer(packed, _KIND)).tobytes()
