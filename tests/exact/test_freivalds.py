"""Claims of exact products: honest ones pass, a changed unit or a changed bit is found and named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from validator.exact import ExactError, NonFinite, UnsupportedOp, exact, freivalds
from validator.exact.freivalds import PRIME, Disagreement, Witness, check, witness
from validator.exact.products import BLOCK
from validator.exact.random import Stream

DEPTHS = [1, 2, 64, 65, BLOCK, BLOCK + 1, 2 * BLOCK + 300]
SEED = b"a block after the claim"


def _operands(m: int, k: int, n: int, name: str = "") -> tuple[Tensor, Tensor]:
    stream = Stream(b"freivalds", f"{m}/{k}/{n}/{name}")
    scale = 2.0 ** stream.integers(80, (m, 1)).sub(40).float()
    return stream.normal((m, k)) * scale, stream.normal((k, n))


def _claim(a: Tensor, b: Tensor) -> tuple[Tensor, Witness]:
    with exact():
        return a @ b, witness(a, b)


def _with_block(given: Witness, number: int, block: Tensor) -> Witness:
    return replace(given, blocks=(*given.blocks[:number], block, *given.blocks[number + 1 :]))


def _changed(block: Tensor, row: int, column: int, by: int) -> Tensor:
    changed = block.clone()
    changed[row, column] += by
    return changed


@pytest.mark.parametrize("k", DEPTHS)
@pytest.mark.parametrize(("m", "n"), [(1, 1), (7, 5), (30, 1500)])
def test_check__honest_claim__passes(m: int, k: int, n: int) -> None:
    a, b = _operands(m, k, n)
    claimed, given = _claim(a, b)
    assert len(given.blocks) == -(-k // BLOCK)
    assert check(a, b, claimed, given, SEED) is None


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(1, 70), st.integers(1, 9), st.data())
def test_check__any_small_float32_matrices__honest_claim_passes(m: int, k: int, n: int, data: st.DataObject) -> None:
    singles = st.floats(width=32, allow_nan=False, allow_infinity=False)

    def matrix(rows: int, columns: int) -> Tensor:
        values: Sequence[float] = data.draw(st.lists(singles, min_size=rows * columns, max_size=rows * columns))
        return torch.tensor(values, dtype=torch.float32).view(rows, columns)

    a, b = matrix(m, k), matrix(k, n)
    claimed, given = _claim(a, b)
    assert check(a, b, claimed, given, SEED) is None


@pytest.mark.parametrize("k", [64, BLOCK + 1])
@pytest.mark.parametrize("sign", [1, -1])
def test_check__elements_at_their_largest__honest_claim_passes(k: int, sign: int) -> None:
    most = torch.finfo(torch.float32).max
    a, b = torch.full((3, k), most), torch.full((k, 1100), sign * most)
    claimed, given = _claim(a, b * 2.0**-200)
    assert check(a, b * 2.0**-200, claimed, given, SEED) is None


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32),
    st.sampled_from([1, 2, -1, PRIME, -PRIME, 2**27, 2**31 - 1, (2**31 - 1) * 2**16]),
    st.integers(0, 2),
)
def test_check__one_integer_changed__row_column_and_block_are_named(seed: int, by: int, number: int) -> None:
    a, b = _operands(11, 2 * BLOCK + 50, 13)
    claimed, given = _claim(a, b)
    row, column = (int(Stream(seed.to_bytes(8, "little"), "place").integers(high, ())) for high in (11, 13))
    wrong = _with_block(given, number, _changed(given.blocks[number], row, column, by))
    found = check(a, b, claimed, wrong, seed.to_bytes(8, "big"))
    assert isinstance(found, Disagreement)
    assert (found.row, found.column, found.block) == (row, column, number)


def test_check__changes_that_cancel_in_the_sum__found_in_the_first_block() -> None:
    a, b = _operands(5, 2 * BLOCK, 6)
    claimed, given = _claim(a, b)
    wrong = Witness((_changed(given.blocks[0], 4, 2, 9), _changed(given.blocks[1], 4, 2, -9)))
    found = check(a, b, claimed, wrong, SEED)
    assert found is not None and (found.row, found.column, found.block) == (4, 2, 0)


def test_check__several_rows_wrong__the_first_is_named() -> None:
    a, b = _operands(300, 40, 700)
    claimed, given = _claim(a, b)
    wrong = _changed(_changed(given.blocks[0], 250, 3, 1), 170, 699, -1)
    found = check(a, b, claimed, Witness((wrong,)), SEED)
    assert found is not None and (found.row, found.column) == (170, 699)


@pytest.mark.parametrize("rows", [[0], [0, 1, 2, 3]])
def test_check__rows_of_another_product__found(rows: list[int]) -> None:
    a, b = _operands(4, 100, 50)
    claimed, given = _claim(a, b)
    other, theirs = _claim(a.flip(0), b)
    block, result = given.blocks[0].clone(), claimed.clone()
    block[rows], result[rows] = theirs.blocks[0][rows], other[rows]
    found = check(a, b, result, Witness((block,)), SEED)
    assert found is not None and (found.row, found.block) == (0, 0)


@pytest.mark.parametrize("change", [lambda v: torch.nextafter(v, v + 1), lambda v: -v, lambda v: v * float("nan")])
def test_check__one_rounded_result_changed__named_as_such(change: object) -> None:
    a, b = _operands(200, 30, 900)
    claimed, given = _claim(a, b)
    claimed[123, 456] = change(claimed[123, 456])  # type: ignore[operator]
    found = check(a, b, claimed, given, SEED)
    assert found is not None and (found.row, found.column, found.block) == (123, 456, None)


def test_check__zero_claimed_as_negative_zero__named() -> None:
    a, b = torch.zeros(2, 3), torch.ones(3, 2)
    claimed, given = _claim(a, b)
    assert check(a, b, claimed, given, SEED) is None
    assert check(a, b, -claimed, given, SEED) is not None


@pytest.mark.parametrize("value", [2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63)])
def test_check__integer_beyond_what_a_block_holds__named(value: int) -> None:
    a, b = _operands(3, 20, 4)
    claimed, given = _claim(a, b)
    block = given.blocks[0].clone()
    block[1, 2] = value
    found = check(a, b, claimed, Witness((block,)), SEED)
    assert found is not None and (found.row, found.column, found.block) == (1, 2, 0)


def test_check__wrong_row_made_for_a_known_challenge__passes_it_and_fails_another() -> None:
    """Why the seed must come after the claim: four more columns than challenge vectors are enough to forge a row."""
    a, b = _operands(1, 10, 2)
    claimed, given = _claim(a, b)
    known = Stream(SEED, "freivalds").integers(freivalds.CHALLENGE, (2, freivalds.COLUMNS))
    # With one vector a multiple of (r_1, -r_0) is invisible; the four vectors of a round see it.
    forged = given.blocks[0] + torch.stack([known[1, 0], -known[0, 0]])
    image = freivalds._project(forged, known) == freivalds._project(given.blocks[0], known)
    assert image[0, 0] and not image[0, 1:].any()
    assert check(a, b, claimed, Witness((forged,)), SEED, rounds=1) is not None


@pytest.mark.parametrize("shape", [(0, 4, 3), (3, 4, 0), (3, 0, 2)])
def test_check__empty_operands__zeros_are_the_only_claim(shape: tuple[int, int, int]) -> None:
    m, k, n = shape
    a, b = torch.zeros(m, k), torch.zeros(k, n)
    given = witness(a, b)
    assert check(a, b, torch.zeros(m, n), given, SEED) is None
    if m * n:
        assert check(a, b, torch.ones(m, n), given, SEED) is not None


def test_check__malformed_claims__refused() -> None:
    a, b = _operands(3, 20, 4)
    claimed, given = _claim(a, b)
    with pytest.raises(ExactError, match="0 blocks"):
        check(a, b, claimed, Witness(()), SEED)
    with pytest.raises(ExactError, match="float64"):
        check(a, b, claimed.double(), given, SEED)
    with pytest.raises(ExactError, match="int32"):
        check(a, b, claimed, Witness((given.blocks[0].int(),)), SEED)
    with pytest.raises(ExactError, match="round"):
        check(a, b, claimed, given, SEED, rounds=0)


def test_check__operands_that_have_no_witness__refused() -> None:
    a, b = _operands(3, 20, 4)
    with pytest.raises(UnsupportedOp, match="float64"):
        witness(a.double(), b.double())
    with pytest.raises(UnsupportedOp, match="shapes"):
        witness(a, a)
    with pytest.raises(NonFinite):
        witness(a * float("inf"), b)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, PRIME - 1), st.sampled_from([21, 27, 42]))
def test_turn__any_residue__is_the_product_by_a_power_of_two(value: int, shift: int) -> None:
    turned = int(freivalds._turn(torch.tensor(value), shift))
    assert turned % PRIME == value * 2**shift % PRIME
    assert 0 <= turned <= PRIME


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_project__any_integers__agrees_with_python(seed: int) -> None:
    stream = Stream(seed.to_bytes(8, "little"), "project")
    block = (stream.integers(2**32, (2, 1100)) << 21) - 2**52 + stream.integers(2**21, (2, 1100))
    vectors = stream.integers(freivalds.CHALLENGE, (1100, 2))
    truth = [
        [sum(c * r for c, r in zip(row, vector, strict=True)) % PRIME for vector in vectors.t().tolist()]
        for row in block.tolist()
    ]
    assert freivalds._project(block, vectors).tolist() == truth
