"""Philox against the published vectors; streams by their definition."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from validator.exact import ExactError, exact
from validator.exact.random import Stream, philox


@pytest.mark.parametrize(
    ("counter", "key", "output"),
    [  # Random123, tests/kat_vectors, "philox4x32 10"
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_philox__random123_vectors__match(counter: str, key: str, output: str) -> None:
    words = np.array([[int(word, 16)] for word in counter.split()], dtype=np.uint64)
    first, second = (int(word, 16) for word in key.split())
    assert [f"{int(word):08x}" for word in philox(words, (first, second))[:, 0]] == output.split()


def test_stream__words__are_the_cipher_of_counted_blocks() -> None:
    stream = Stream(b"seed", "name")
    drawn = np.concatenate([stream.words(3), stream.words(8)])
    key = hashlib.sha256(b"seed\x00name").digest()
    pair = (int.from_bytes(key[:4], "little"), int.from_bytes(key[4:8], "little"))
    blocks = [philox(np.array([[i], [0], [0], [0]], dtype=np.uint64), pair)[:, 0] for i in range(3)]
    assert drawn.tolist() == [*blocks[0][:3], *blocks[1], *blocks[2]]


def test_stream__names_and_seeds__give_other_draws() -> None:
    draws = [Stream(seed, name).uniform((4,)).tolist() for seed in (b"a", b"b") for name in ("x", "y")]
    assert len({tuple(d) for d in draws}) == 4


def test_uniform__range_and_grid__multiples_of_two_to_minus_24() -> None:
    u = Stream(b"s", "u").uniform((50, 200))
    assert u.dtype == torch.float32
    assert u.shape == (50, 200)
    assert float(u.min()) >= 0.0
    assert float(u.max()) < 1.0
    assert torch.equal(u * 2.0**24, (u * 2.0**24).floor())
    assert abs(float(u.mean()) - 0.5) < 0.01


def test_normal__moments__of_a_standard_normal() -> None:
    z = Stream(b"s", "z").normal((100_001,)).double()
    assert abs(float(z.mean())) < 0.02
    assert abs(float(z.var()) - 1.0) < 0.02
    assert abs(float((z**4).mean()) - 3.0) < 0.1
    assert float((z.abs() < 1.0).double().mean()) == pytest.approx(0.6827, abs=0.005)


def test_integers__every_value__about_equally_often() -> None:
    values = Stream(b"s", "i").integers(7, (70_000,))
    assert values.dtype == torch.int64
    assert (torch.bincount(values, minlength=7) - 10_000).abs().max() < 500


@pytest.mark.parametrize("high", [1, 2, 1 << 32])
def test_integers__bounds__respected(high: int) -> None:
    values = Stream(b"s", "b").integers(high, (1000,))
    assert 0 <= int(values.min()) <= int(values.max()) < high


@pytest.mark.parametrize("high", [0, -1, (1 << 32) + 1])
def test_integers__impossible_bound__refused(high: int) -> None:
    with pytest.raises(ExactError, match="bound"):
        Stream(b"s", "b").integers(high, (1,))


def test_permutation__of_n__every_number_once() -> None:
    p = Stream(b"s", "p").permutation(1000)
    assert torch.equal(p.sort().values, torch.arange(1000))
    assert not torch.equal(p, torch.arange(1000))


@pytest.mark.parametrize(("n", "k"), [(0, 0), (1, 0), (1, 1), (10, 5), (10, 6), (1_000, 1_000), (1_000_000, 999)])
def test_sample__k_of_n__as_many_distinct_numbers_below_n(n: int, k: int) -> None:
    drawn = Stream(b"s", "sample").sample(n, k)
    assert drawn.dtype == torch.int64
    assert drawn.shape == (k,)
    assert len(set(drawn.tolist())) == k
    assert all(0 <= one < n for one in drawn.tolist())
    assert torch.equal(drawn, Stream(b"s", "sample").sample(n, k))


def test_sample__many_times__each_number_comes_first_and_last_equally_often() -> None:
    stream = Stream(b"s", "fair")
    drawn = torch.stack([stream.sample(6, 3) for _ in range(6_000)])
    for place in (0, 2):
        counts = drawn[:, place].bincount(minlength=6)
        assert int(counts.min()) > 880
        assert int(counts.max()) < 1_120


def test_sample__of_billions__draws_no_more_than_it_must(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, words = list[int](), Stream.words
    monkeypatch.setattr(Stream, "words", lambda self, n: asked.append(n) or words(self, n))
    assert len(Stream(b"s", "huge").sample(1 << 31, 100)) == 100
    assert sum(asked) < 1_000


@pytest.mark.parametrize(("n", "k"), [(3, 4), (3, -1)])
def test_sample__more_than_there_are__refused(n: int, k: int) -> None:
    with pytest.raises(ExactError, match="without repeats"):
        Stream(b"s", "b").sample(n, k)


def test_rademacher__signs__balanced() -> None:
    signs = Stream(b"s", "r").rademacher((10_000,))
    assert set(signs.tolist()) == {1.0, -1.0}
    assert abs(float(signs.mean())) < 0.05


def test_stream__inside_exact__same_draws() -> None:
    outside = [Stream(b"s", "m").normal((9,)), Stream(b"s", "m").uniform((9,)), Stream(b"s", "m").permutation(9)]
    with exact():
        inside = [Stream(b"s", "m").normal((9,)), Stream(b"s", "m").uniform((9,)), Stream(b"s", "m").permutation(9)]
    assert all(torch.equal(a, b) for a, b in zip(outside, inside, strict=True))
