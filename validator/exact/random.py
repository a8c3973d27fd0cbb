"""Random numbers that are the same everywhere: Philox4x32-10 (Salmon et al., SC'11) in integer arithmetic.

A `Stream` is keyed by a protocol seed and the name of the draw. Its i-th block is the cipher of the counter i: nothing
depends on the device, on threads, or on torch's and NumPy's generators, which differ between releases and processors.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from validator.exact import functions
from validator.exact.errors import ExactError

Words = NDArray[np.uint64]
"""32-bit words, each in a uint64 so that products of two do not overflow."""

_LOW = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)
_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
_MOST_HIGH = 1 << 32


def philox(counter: Words, key: tuple[int, int]) -> Words:
    """Philox4x32-10: counter (4, n) to output (4, n), words of 32 bits; `key` two of them."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        first, second = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            (second >> _SHIFT) ^ c1 ^ np.uint64(k0),
            second & _LOW,
            (first >> _SHIFT) ^ c3 ^ np.uint64(k1),
            first & _LOW,
        )
        k0, k1 = (k0 + _WEYL[0]) & 0xFFFFFFFF, (k1 + _WEYL[1]) & 0xFFFFFFFF
    return np.stack((c0, c1, c2, c3))


class Stream:
    """A sequence of draws, fixed by (seed, name) and by the calls made before. Tensors are on the CPU.

    The key is the first 8 bytes of sha256(seed || 0x00 || name), two little-endian words. A call takes whole blocks of
    four words from the counter, so its values depend on the sizes of the earlier calls, not on their kinds.
    """

    def __init__(self, seed: bytes, name: str) -> None:
        key = hashlib.sha256(seed + b"\x00" + name.encode()).digest()
        self._key = (int.from_bytes(key[:4], "little"), int.from_bytes(key[4:8], "little"))
        self._block = 0

    def words(self, n: int) -> Words:
        """`n` uniform words of 32 bits, as uint64."""
        blocks = -(-n // 4)
        index = np.arange(self._block, self._block + blocks, dtype=np.uint64)
        self._block += blocks
        zero = np.zeros_like(index)
        counter = np.stack((index & _LOW, index >> _SHIFT, zero, zero))
        return philox(counter, self._key).T.reshape(-1)[:n]

    def uniform(self, shape: Sequence[int]) -> Tensor:
        """float32 in [0, 1): multiples of 2^-24, one word each."""
        top = (self.words(math.prod(shape)) >> np.uint64(8)).astype(np.float32)
        return torch.from_numpy(top * np.float32(2.0**-24)).view(tuple(shape))

    def normal(self, shape: Sequence[int]) -> Tensor:
        """float32 standard normals by Box and Muller: two words make two, with our own log, sqrt, cos and sin."""
        n = math.prod(shape)
        pairs = -(-n // 2)
        words = self.words(2 * pairs).astype(np.float64).reshape(pairs, 2)
        # The fixed functions are exact as they stand: a mode that is on would only look each of their steps up.
        with _disable_current_modes():
            first, second = torch.from_numpy(words).unbind(1)
            radius = functions.sqrt(functions.log((first + 1.0).mul_(2.0**-32)).mul_(-2.0))
            cosine, sine = functions.cos_sin_turns(second * 2.0**-32)
            both = torch.stack((cosine.mul_(radius), sine.mul_(radius)), dim=1)
            return both.view(-1)[:n].to(torch.float32).view(tuple(shape))

    def integers(self, high: int, shape: Sequence[int]) -> Tensor:
        """int64 in [0, high), 1 <= high <= 2^32: 64 random bits times high, over 2^64; bias below high / 2^64."""
        if not 1 <= high <= _MOST_HIGH:
            raise ExactError(f"cannot draw integers below {high}: the bound must lie in 1 .. 2^32")
        words = self.words(2 * math.prod(shape)).reshape(-1, 2)
        bound = np.uint64(high)
        value = (words[:, 0] * bound + (words[:, 1] * bound >> _SHIFT)) >> _SHIFT
        return torch.from_numpy(value.astype(np.int64)).view(tuple(shape))

    def permutation(self, n: int) -> Tensor:
        """int64 (n,): the order of n keys of 64 bits, equal keys (never, in practice) by position."""
        words = self.words(2 * n).reshape(-1, 2)
        keys = (words[:, 0] << _SHIFT) | words[:, 1]
        return torch.from_numpy(np.argsort(keys, kind="stable").astype(np.int64))

    def sample(self, n: int, k: int) -> Tensor:
        """int64 (k,): `k` of 0 .. n - 1 in random order, none twice, 0 <= k <= n. It takes time in proportion to `k`,
        however large `n` is: the first `k` distinct of draws below `n`, or the first of a permutation where `k` is more
        than half of them.
        """
        if not 0 <= k <= n:
            raise ExactError(f"cannot draw {k} of {n} without repeats")
        if 2 * k > n:
            return self.permutation(n)[:k]
        drawn = np.empty(0, np.int64)
        while True:
            first = np.sort(np.unique(drawn, return_index=True)[1])
            if len(first) >= k:
                return torch.from_numpy(drawn[first[:k]])
            drawn = np.concatenate([drawn, self.integers(n, (k,)).numpy()])

    def rademacher(self, shape: Sequence[int]) -> Tensor:
        """float32 signs, +1 or -1, one word each."""
        sign = (self.words(math.prod(shape)) >> np.uint64(31)).astype(np.float32)
        return torch.from_numpy(1.0 - 2.0 * sign).view(tuple(shape))
