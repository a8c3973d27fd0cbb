"""Products and sums against exact rational arithmetic."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from validator.exact import NonFinite, exact
from validator.exact.products import BLOCK, operand_bits, product
from validator.exact.random import Stream
from validator.exact.scaling import ceil_log2, grid, snap
from validator.exact.sums import sum_bits, total

singles = st.floats(width=32, allow_nan=False, allow_infinity=False)
"""Zeros of both signs, denormals, and magnitudes up to 3.4e38."""
doubles = st.floats(min_value=-1e100, max_value=1e100).filter(lambda v: v == 0 or abs(v) > 1e-100)
"""Within the range that float64 products keep in full: below 2^-400 they lose digits."""


def _matrix(values: st.SearchStrategy[float], rows: int, columns: int) -> st.SearchStrategy[list[list[float]]]:
    return st.lists(st.lists(values, min_size=columns, max_size=columns), min_size=rows, max_size=rows)


@st.composite
def _pair(draw: st.DrawFn, values: st.SearchStrategy[float]) -> tuple[list[list[float]], list[list[float]]]:
    m, k, n = (draw(st.integers(1, 6)) for _ in range(3))
    return draw(_matrix(values, m, k)), draw(_matrix(values, k, n))


def _snapped(values: list[Fraction], bits: int) -> list[Fraction]:
    """The definition, in rationals: nearest multiples, ties to even, of 2^(E+1-bits) with 2^E <= largest < 2^(E+1)."""
    largest = max(abs(v) for v in values)
    if largest == 0:
        return values
    exponent = largest.numerator.bit_length() - largest.denominator.bit_length()
    while Fraction(2) ** exponent > largest:
        exponent -= 1
    while Fraction(2) ** (exponent + 1) <= largest:
        exponent += 1
    unit = Fraction(2) ** (exponent + 1 - bits)
    return [round(v / unit) * unit for v in values]


@settings(max_examples=150, deadline=None)
@given(_pair(singles))
def test_product__any_float32_matrices__is_the_integer_product(
    pair: tuple[list[list[float]], list[list[float]]],
) -> None:
    a, b = (torch.tensor(values, dtype=torch.float32) for values in pair)
    bits = operand_bits(a.shape[1])
    rows = [_snapped([Fraction(v) for v in row], bits) for row in a.tolist()]
    columns = [_snapped([Fraction(v) for v in column], bits) for column in b.t().tolist()]
    exactly = [[sum(x * y for x, y in zip(row, column, strict=True)) for column in columns] for row in rows]
    assert [[Fraction(v) for v in row] for row in product(a, b, "test").tolist()] == exactly


@settings(max_examples=100, deadline=None)
@given(_pair(doubles))
def test_product__float64_matrices__within_a_few_roundings(pair: tuple[list[list[float]], list[list[float]]]) -> None:
    a, b = (torch.tensor(values, dtype=torch.float64) for values in pair)
    found = product(a, b, "test")
    for i, row in enumerate(a.tolist()):
        for j, column in enumerate(b.t().tolist()):
            truth = sum(Fraction(x) * Fraction(y) for x, y in zip(row, column, strict=True))
            size = max(map(abs, row)) * max(map(abs, column)) * a.shape[1]
            assert abs(Fraction(found[i, j].item()) - truth) <= Fraction(size) * Fraction(2) ** -50


@settings(max_examples=150, deadline=None)
@given(st.lists(singles, min_size=1, max_size=40), st.randoms())
def test_sum__any_order__same_integers(values: list[float], random: object) -> None:
    x = torch.tensor(values, dtype=torch.float32)
    shuffled = list(values)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    exactly = sum(_snapped([Fraction(v) for v in values], sum_bits(len(values))))
    assert Fraction(total(x, None, False, "test").item()) == exactly
    assert Fraction(total(torch.tensor(shuffled, dtype=torch.float32), None, False, "test").item()) == exactly


@settings(max_examples=100, deadline=None)
@given(singles.filter(bool), st.integers(1, 51))
def test_snap__largest_value__stays_within_its_units(value: float, bits: int) -> None:
    x = torch.tensor([value], dtype=torch.float32)
    snapped = snap(x, grid(x.abs().double(), bits)).item()
    assert [Fraction(snapped)] == _snapped([Fraction(x.item())], bits)
    assert abs(snapped - x.item()) <= abs(x.item()) * 2.0**-bits


@pytest.mark.parametrize("k", [1, 2, 63, 64, 65, BLOCK - 1, BLOCK])
def test_operand_bits__every_depth__partial_sums_stay_integers(k: int) -> None:
    assert 2 * operand_bits(k) + ceil_log2(k) <= 53
    assert k * (2 ** operand_bits(k)) ** 2 <= 2**53


@pytest.mark.parametrize("n", [1, 2, 3, 4096, 4097, 1 << 20, 1 << 30])
def test_sum_bits__every_length__sums_fit_their_accumulator(n: int) -> None:
    assert sum_bits(n) <= 51
    assert n * 2 ** sum_bits(n) <= (2**53 if n <= 4096 else 2**62)


def test_sum__more_than_4096_elements__exact_integers_in_int64() -> None:
    x = Stream(b"sum", "long").normal((3, 5000))
    truth = [sum(_snapped([Fraction(v) for v in row], sum_bits(5000))) for row in x.tolist()]
    assert [Fraction(v) for v in total(x, (1,), False, "test").tolist()] == truth


def test_product__depth_beyond_one_block__blocks_added_in_order() -> None:
    stream = Stream(b"product", "deep")
    a, b = stream.normal((2, BLOCK + 100)), stream.normal((BLOCK + 100, 3))
    truth = a.double() @ b.double()
    assert float((product(a, b, "test") - truth).abs().max()) < 1e-3
    with exact():
        assert torch.equal(a @ b, torch.cat([a[:1] @ b, a[1:] @ b]))


def test_product__opposite_neighbours__zero_is_positive() -> None:
    a, b = torch.full((40, 1), -1.0), torch.zeros(1, 40)
    with exact():
        zeros = [a @ b, a[:1] @ b[:, :1], (a * b).sum(0), torch.relu(-b)]
    assert not any(torch.signbit(z).any() for z in zeros)


@pytest.mark.parametrize("bad", [float("inf"), float("-inf"), float("nan")])
@pytest.mark.parametrize(
    ("op", "run"),
    [
        ("aten.mm", lambda x: x @ torch.ones(4, 4)),
        ("aten.mm", lambda x: torch.ones(4, 4) @ x),
        ("aten.sum", torch.sum),
        ("aten.mean", lambda x: x.mean(1)),
        ("aten.scatter_add", lambda x: torch.zeros(4, 4).scatter_add(0, torch.zeros(4, 4, dtype=torch.long), x)),
        ("aten.convolution", lambda x: torch.conv2d(x[None, None], torch.ones(1, 1, 2, 2))),
    ],
)
def test_product_or_sum__infinity_or_nan__refused_by_name(op: str, run: object, bad: float) -> None:
    x = torch.ones(4, 4)
    x[2, 1] = bad
    with exact(), pytest.raises(NonFinite, match=op):
        run(x)  # type: ignore[operator]


def test_product__float64_below_its_range__never_worse_than_its_finest_unit() -> None:
    a, b = torch.tensor([[1e-200]], dtype=torch.float64), torch.tensor([[1e100]], dtype=torch.float64)
    assert abs(product(a, b, "test").item() - 1e-100) <= 1e100 * 2.0**-460


def test_product__float64_beyond_its_range__refused() -> None:
    with exact(), pytest.raises(NonFinite):
        torch.full((2, 2), 1e200, dtype=torch.float64) @ torch.ones(2, 2, dtype=torch.float64)


@pytest.mark.parametrize("shape", [(0, 4), (4, 0)])
def test_product_and_sum__empty_tensors__zeros(shape: tuple[int, int]) -> None:
    x = torch.zeros(shape)
    with exact():
        assert torch.equal(x @ x.t(), torch.zeros(shape[0], shape[0]))
        assert x.sum().item() == 0.0
        assert torch.equal(x.sum(1), torch.zeros(shape[0]))
