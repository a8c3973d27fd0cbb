"""Who takes part in the demonstration: a DAO short of two digits, and a crowd of honest and dishonest contributors.

The data are scikit-learn's 1,797 handwritten digits. `--seed` decides which records the DAO trained on, which two
classes it is short of, and what everyone brings; NumPy's PCG64 is specified bit for bit, so a seed gives the same crowd
on every machine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

ANCHOR_RECORDS = 120
QUERY_RECORDS = 360
SHORT_CLASSES = 2
RECORDS_OF_A_SHORT_CLASS = 4

SCORED_KINDS = ("clean",) * 6 + ("narrow",) * 2 + ("mislabelled",) * 4 + ("noise",) * 2 + ("duplicate",) * 2
"""Kinds of one round whose payload parses; `mislabelled` is half and all labels wrong in turn."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """Records: inputs (n, 64) float32 in [0, 1], targets (n,) int64 in [0, 10)."""

    inputs: Floats
    targets: Labels

    def take(self, index: npt.NDArray[np.int64]) -> Labelled:
        """The records at `index`."""
        return Labelled(self.inputs[index], self.targets[index])


@dataclass(frozen=True, slots=True)
class Split:
    """What the DAO holds (anchor, queries) and what the world holds (pool); disjoint."""

    anchor: Labelled
    queries: Labelled
    pool: Labelled
    short: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Offer:
    """One well-formed contribution of a round: its kind, the kind in words, and its records."""

    kind: str
    detail: str
    records: Labelled


def load_digits() -> Labelled:
    """The whole data set, pixels scaled from 0..16 to [0, 1]."""
    from sklearn.datasets import load_digits as load

    bunch = load()
    return Labelled((bunch.data / 16.0).astype(np.float32), bunch.target.astype(np.int64))


def split(data: Labelled, seed: int) -> Split:
    """Anchor of 120 records with two short classes, 360 queries in natural proportion, the rest as pool."""
    rng = np.random.Generator(np.random.PCG64([seed, 1]))
    order = rng.permutation(len(data.targets))
    short = tuple(sorted(int(c) for c in rng.permutation(10)[:SHORT_CLASSES]))
    queries, rest = order[:QUERY_RECORDS], order[QUERY_RECORDS:]
    is_short = np.isin(data.targets[rest], short)
    few = [rest[data.targets[rest] == c][:RECORDS_OF_A_SHORT_CLASS] for c in short]
    many = rest[~is_short][: ANCHOR_RECORDS - SHORT_CLASSES * RECORDS_OF_A_SHORT_CLASS]
    anchor = np.concatenate([*few, many])
    pool = rest[~np.isin(rest, anchor)]
    return Split(data.take(anchor), data.take(queries), data.take(pool), short)


class Crowd:
    """Draws what contributors bring; no record of the pool is given out twice."""

    def __init__(self, parts: Split, seed: int) -> None:
        self._parts = parts
        self._rng = np.random.Generator(np.random.PCG64([seed, 2]))
        self._left = self._rng.permutation(len(parts.pool.targets))

    def round(self) -> Iterator[Offer]:
        """The offers of one round whose payload is well-formed, in a random order."""
        turns = Counter[str]()
        offers = []
        for kind in SCORED_KINDS:
            offers.append(self._offer(kind, turns[kind]))
            turns[kind] += 1
        for index in self._rng.permutation(len(offers)):
            yield offers[int(index)]

    def clean(self) -> Labelled:
        """Fresh, correctly labelled records of all classes."""
        return self._fresh(np.ones(len(self._left), dtype=bool))

    def _offer(self, kind: str, turn: int) -> Offer:
        if kind == "clean":
            return Offer(kind, "novel records of all digits", self.clean())
        if kind == "narrow":
            digit = self._parts.short[turn % SHORT_CLASSES]
            mine = self._parts.pool.targets[self._left] == digit
            return Offer(kind, f"novel records of the digit {digit} only", self._fresh(mine))
        if kind == "mislabelled":
            half = turn % 2 == 0
            return Offer(
                kind, f"{'half' if half else 'all'} of the labels wrong", self._mislabel(self.clean(), half=half)
            )
        if kind == "noise":
            return Offer(kind, "random pixels, random labels", self._noise())
        return Offer(kind, "records the DAO has trained on", self._copies())

    def _size(self) -> int:
        return int(self._rng.integers(20, 41))

    def _fresh(self, eligible: npt.NDArray[np.bool_]) -> Labelled:
        chosen = np.flatnonzero(eligible)[: self._size()]
        taken = self._left[chosen]
        self._left = np.delete(self._left, chosen)
        return self._parts.pool.take(taken)

    def _mislabel(self, records: Labelled, *, half: bool) -> Labelled:
        wrong = (records.targets + self._rng.integers(1, 10, len(records.targets))) % 10
        keep = np.arange(len(wrong)) < len(wrong) // 2 if half else np.zeros(len(wrong), dtype=bool)
        return Labelled(records.inputs, np.where(keep, records.targets, wrong).astype(np.int64))

    def _noise(self) -> Labelled:
        n = self._size()
        pixels = self._rng.integers(0, 17, (n, 64)).astype(np.float32) / np.float32(16)
        return Labelled(pixels, self._rng.integers(0, 10, n))

    def _copies(self) -> Labelled:
        anchor = self._parts.anchor
        return anchor.take(self._rng.permutation(len(anchor.targets))[: self._size()])
