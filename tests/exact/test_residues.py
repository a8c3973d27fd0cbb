"""Products by int8 residues: the integers of the float64 engine, bit for bit."""

from __future__ import annotations

import itertools
import math
from contextlib import AbstractContextManager, nullcontext
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.exact.processors import needs_vnni
from validator.exact import NonFinite, kernels, products, residues
from validator.exact.products import BLOCK, operand_bits, settle
from validator.exact.random import Stream
from validator.exact.residues import CUT, DEEPEST, MODULI, RANGE, halves, weight

DEPTHS = [1, 33, 63, 64, 65, 1000, 1024, 1025, 3000]
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")),
]


def _by_residues(a: Tensor, b: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
    bits = operand_bits(a.shape[-1])
    left, right = residues.prepare(a, -1, bits, "test"), residues.prepare(b, -2, bits, "test")
    return residues.multiply(left, right, a.dim() == 3, BLOCK, dtype)


def _path(fast: bool) -> AbstractContextManager[None]:
    return nullcontext() if fast else kernels.reference()


def _same(a: Tensor, b: Tensor) -> None:
    """float64 up to the sign of zero, float32 to the last bit, with kernels and without."""
    with kernels.reference():
        expected = products.product(a, b, "test")
        rounded = settle(expected.clone(), torch.float32)
    for fast in (True, False):
        with _path(fast):
            assert torch.equal(_by_residues(a, b), expected)
            found = _by_residues(a, b, torch.float32)
            assert torch.equal(found.view(torch.int32), rounded.view(torch.int32))


def _operand(stream: Stream, rows: int, columns: int) -> Tensor:
    """Magnitudes over the whole range of float32, row by row and column by column; some zeros, some denormals."""
    x = stream.normal((rows, columns)).double()
    x *= 2.0 ** stream.integers(120, (rows, 1)).sub(60).double() * 2.0 ** stream.integers(120, (1, columns)).sub(60)
    x[stream.integers(8, (rows, columns)) == 0] = 0.0
    tiny = stream.integers(16, (rows, columns)) == 0
    x[tiny] = (stream.normal((rows, columns)).double() * 2.0**-140)[tiny]
    return x.float()


@needs_vnni
@pytest.mark.parametrize("k", DEPTHS)
@pytest.mark.parametrize(("m", "n"), [(1, 1), (5, 3), (40, 33)])
def test_multiply__any_depth_and_magnitude__bits_of_the_float64_engine(m: int, k: int, n: int) -> None:
    stream = Stream(b"residues", f"{m}/{k}/{n}")
    _same(_operand(stream, m, k), _operand(stream, k, n))


@needs_vnni
@pytest.mark.parametrize("k", [64, 1024, 1100])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_multiply__all_elements_at_their_largest__bits_of_the_float64_engine(k: int, sign: float) -> None:
    largest = math.nextafter(2.0, 0.0)
    a, b = torch.full((34, k), largest), torch.full((k, 40), sign * largest)
    _same(a, b)
    _same(a * 2.0**126, b * 2.0**-149)


@needs_vnni
@pytest.mark.parametrize("k", [40, 1024])
def test_multiply__every_layout__bits_of_the_float64_engine(k: int) -> None:
    stream = Stream(b"residues", "layouts")
    left = [stream.normal((36, k)), stream.normal((k, 36)).t(), stream.normal((36, 2 * k))[:, ::2]]
    right = [stream.normal((k, 44)), stream.normal((44, k)).t(), stream.normal((k, 50))[:, 3:47]]
    for a, b in itertools.product(left, right):
        _same(a, b)


@needs_vnni
def test_multiply__result_wider_than_a_tile__bits_of_the_float64_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Stream(b"residues", "tiles")
    a, b = stream.normal((150, 65)), stream.normal((65, 3000))
    monkeypatch.setattr(residues, "_TILE", 1 << 12)
    assert len(list(residues._tiles(150, 3000, a.device))) > 2
    _same(a, b)


@needs_vnni
@pytest.mark.parametrize("shape", [(130, 300, 700), (700, 300, 130), (257, 1100, 257)], ids=str)
def test_multiply__by_any_number_of_threads__bits_of_the_float64_engine(shape: tuple[int, int, int]) -> None:
    m, k, n = shape
    stream, before = Stream(b"residues", "threads"), torch.get_num_threads()
    a, b = stream.normal((m, k)), stream.normal((k, n))
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            _same(a, b)
    finally:
        torch.set_num_threads(before)


@needs_vnni
def test_multiply__batch__each_matrix_alone() -> None:
    stream = Stream(b"residues", "batch")
    _same(stream.normal((3, 20, 70)), stream.normal((3, 70, 9)))


@needs_vnni
@settings(max_examples=60, deadline=None)
@given(st.integers(1, 70), st.integers(1, 130), st.integers(1, 70), st.integers(0, 2**32))
def test_multiply__any_shape__bits_of_the_float64_engine(m: int, k: int, n: int, seed: int) -> None:
    stream = Stream(seed.to_bytes(8, "little"), "residues")
    _same(_operand(stream, m, k), _operand(stream, k, n))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dim", [-1, -2])
@pytest.mark.parametrize("fast", [True, False])
def test_prepare__infinity_or_nan__refused_by_name(bad: float, dim: int, fast: bool) -> None:
    x = torch.ones(40, 50)
    x[39, 49] = bad
    for layout in (x, x.t().contiguous().t()):
        with _path(fast), pytest.raises(NonFinite, match=r"aten\.mm"):
            residues.prepare(layout, dim, 22, "aten.mm")


@pytest.mark.parametrize("bits", [21, 22, 23])
@pytest.mark.parametrize("fast", [True, False])
def test_prepare__every_integer_near_a_tie_of_a_modulus__congruent_and_within_int8(bits: int, fast: bool) -> None:
    top = 1 << bits
    integers = {top - 1, -top + 1, 0}
    for modulus in MODULI:
        near = [((top // modulus - i) * modulus) // 2 for i in range(1, 40)]
        integers |= {sign * (v + d) for v in near for d in (-1, 0, 1) for sign in (1, -1)}
    row = torch.tensor(sorted(integers), dtype=torch.float64)
    # The largest magnitude is just below 2^bits, so that the unit is 1.
    with _path(fast):
        (found,) = residues.prepare(row.float().unsqueeze(0), -1, bits, "test")
    assert found.units.item() == 1.0
    for modulus, values in zip(MODULI, _plain(found)[:, 0, : len(row)].long(), strict=True):
        assert found.values.dtype == torch.int8 and int(values.abs().max()) <= 128
        assert not torch.remainder(values - row.long(), modulus).any()


@pytest.mark.parametrize("exponent", [-170, -149, -140, -127, -104, -103, 0, 100, 125])
@pytest.mark.parametrize("dim", [-1, -2])
def test_prepare__slices_at_the_ends_of_float32__integers_of_the_eager_code(dim: int, exponent: int) -> None:
    x = (Stream(b"residues", "ends").normal((40, 70)).double().clamp(-3, 3) * 2.0**exponent).float()
    for stored in (x, x.t().contiguous().t()):
        with kernels.reference():
            (expected,) = residues.prepare(stored, dim, 21, "test")
        (found,) = residues.prepare(stored, dim, 21, "test")
        assert torch.equal(found.units, expected.units)
        theirs = expected.values if dim == -1 else expected.values.mT
        ours = _plain(found)[:, : theirs.shape[1], : theirs.shape[2]]
        if dim == -2 and isinstance(found, residues.Packed):
            ours = ours.view(torch.uint8)
        for modulus, one, other in zip(MODULI, ours.long(), theirs.long(), strict=True):
            assert not torch.remainder(one - other, modulus).any()


def _plain(found: residues.Operand) -> Tensor:
    """The residues of a left operand, or of the columns of a right one, as (7, slices, depth)."""
    if isinstance(found, residues.Packed):
        groups, moduli, fours = found.values.shape[:3]
        return found.values.permute(1, 0, 3, 2, 4).reshape(moduli, groups * 16, fours * 4)
    return found.values


def test_prepare__all_integers_of_the_grid__congruent_and_within_a_byte_by_the_kernels() -> None:
    """The bounds of kernels/moduli.py, by trying everything; fused multiply-adds among it where there are any.

    A left operand by the kernel for rows, a right one by that for columns; both take residues by one function.
    """
    pytest.importorskip("numba", reason="kernels are compiled by numba")
    row = torch.arange(1 - (1 << 23), 1 << 23, dtype=torch.int32)
    x = row.float()
    (left,), (right,) = residues.prepare(x[None], -1, 23, "test"), residues.prepare(x[:, None], -2, 23, "test")
    for found in (left, right):
        assert isinstance(found, residues.Packed) and found.units.item() == 1.0
    for i, modulus in enumerate(MODULI):
        signed, signless = (each.values[0, i, :, 0].reshape(-1)[: len(row)] for each in (left, right))
        wanted = torch.remainder(row, modulus).to(torch.int16)
        # Not wrapped: what is stored is within m/2 + 1 of zero, or below m without a sign, not only congruent.
        stored = signed.to(torch.int16)
        assert int(stored.abs().max()) <= min(128, modulus // 2 + 1)
        assert torch.equal(torch.where(stored < 0, stored + modulus, stored), wanted)
        assert torch.equal(signless.view(torch.uint8).to(torch.int16), wanted)


def test_prepare__depth_that_is_no_multiple_of_four__zeros_beyond_it() -> None:
    pytest.importorskip("numba", reason="kernels are compiled by numba")
    for depth, dim, turned in itertools.product((1, 3, 62, 257, 1023), (-1, -2), (False, True)):
        x = torch.full((20, depth) if dim == -1 else (depth, 20), -1.5)
        x = x.t().contiguous().t() if turned else x
        (found,) = residues.prepare(x, dim, 21, "test", lambda count: torch.full((count,), 77, dtype=torch.int8))
        inside, beyond = _plain(found)[:, :20, :depth], _plain(found)[:, :20, depth:]
        assert inside.any() and not beyond.any() and beyond.shape[2] == -depth % 4


def test_moduli__as_chosen__determine_every_integer_of_a_block() -> None:
    assert all(math.gcd(a, b) == 1 for a, b in itertools.combinations(MODULI, 2))
    assert RANGE > 2 * 2**53
    assert len(MODULI) == kernels.module("residues").COUNT and MODULI[0] == 256
    assert all(m <= 253 for m in MODULI[1:])
    for modulus in MODULI:
        assert [weight(modulus) % m for m in MODULI] == [int(m == modulus) for m in MODULI]


def test_reconstruction__bounds_of_the_docstring__hold_for_these_moduli() -> None:
    most = DEEPEST * 128 * 255
    pairs = [halves(weight(m)) for m in MODULI]
    high, low = (sum(abs(int(pair[side])) for pair in pairs) * most for side in (0, 1))
    above, below = (int(v) for v in halves(RANGE))
    turns = high * CUT // RANGE + 2
    assert all(int(top) * CUT + int(rest) == weight(m) for m, (top, rest) in zip(MODULI, pairs, strict=True))
    assert high < 2**53 and turns * above < 2**53
    assert low + turns * abs(below) < 2**53
    # What is left out of the rounding, and the integer itself, stay away from one half.
    assert Fraction(low + 2**53, RANGE) < Fraction(28, 100)
    assert Fraction(turns, 2**50) < Fraction(1, 2**24), "the rounding of the product, and that of CUT / RANGE in it"


@needs_vnni
@pytest.mark.parametrize("device", DEVICES)
def test_multiply__on_each_device__bits_of_the_float64_engine_on_the_cpu(device: str) -> None:
    stream = Stream(b"residues", "devices")
    for m, k, n in [(1, 1, 1), (17, 1030, 9), (200, 300, 100)]:
        a, b = _operand(stream, m, k), _operand(stream, k, n)
        expected = settle(products.product(a, b, "test"), torch.float32)
        assert torch.equal(_by_residues(a.to(device), b.to(device), torch.float32).cpu(), expected)


def test_kernels__of_every_form__gather_nothing() -> None:
    for module, name in (("residues", "_pack_rows"), ("residues", "_pack_columns"), ("tiles", "_multiply")):
        (text,) = getattr(kernels.module(module), name).assembly()
        assert "ret" in text
        assert "gather" not in text, f"{name}: an array of any stride is gathered, five times slower"


@pytest.mark.parametrize("bands", [1, 2, 3, 16])
@pytest.mark.parametrize(("chunks", "panels"), [(1, 1), (4, 16), (3, 7), (5, 2)])
def test_tiles__pieces_in_any_number_of_bands__every_tile_once(bands: int, chunks: int, panels: int) -> None:
    place = kernels.module("tiles")._place
    found = [place(piece, chunks, panels, bands) for piece in range(chunks * panels)]
    assert sorted(found) == [(32 * panel, 64 * chunk) for panel in range(panels) for chunk in range(chunks)]


def test_tiles__operands_that_do_not_fit__refused() -> None:
    (a,), (b,) = (
        residues.prepare(torch.ones(8, 40), -1, 21, "test"),
        residues.prepare(torch.ones(44, 8), -2, 21, "test"),
    )
    tiles, weights = kernels.module("tiles"), residues._weights()
    fitting = residues.prepare(torch.ones(40, 8), -2, 21, "test")[0]
    for right, block, out in (
        (b, BLOCK, torch.empty(8, 8)),
        (fitting, BLOCK + 1, torch.empty(8, 8)),
        (fitting, BLOCK, torch.empty(8, 16)[:, ::2]),
    ):
        with pytest.raises(ValueError, match="one depth, blocks in fours, and a contiguous result"):
            tiles.multiply((a.values, a.units), (right.values, right.units), block, weights, out)


def test_pays__small_or_double_or_without_kernels__never() -> None:
    big = torch.ones(256, 256)
    assert not residues.pays(big[:63], big)
    assert not residues.pays(big[:, :100], big[:100])
    assert not residues.pays(big.double(), big.double())
    with kernels.reference():
        assert not residues.pays(big, big)


@pytest.mark.parametrize(("isa", "vnni"), [("AVX512", True), ("AVX512", False), ("AVX2", True), ("DEFAULT", False)])
def test_pays__large_operands__where_the_processor_multiplies_int8_fast(
    isa: str, vnni: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: isa)
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: vnni)
    assert residues._at_hand.__wrapped__(torch.device("cpu")) is (isa == "AVX512" and vnni)


@needs_vnni
def test_pays__int8_products_that_saturate__never(monkeypatch: pytest.MonkeyPatch) -> None:
    tiles = kernels.module("tiles")
    real = tiles.multiply

    def saturating(left: object, right: object, block: int, weights: object, out: Tensor) -> None:
        real(left, right, block, weights, out)
        out.clamp_(max=float(out.max()) / 2)

    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: True)
    assert residues._at_hand.__wrapped__(torch.device("cpu")) is True
    monkeypatch.setattr(tiles, "multiply", saturating)
    assert residues._at_hand.__wrapped__(torch.device("cpu")) is False
