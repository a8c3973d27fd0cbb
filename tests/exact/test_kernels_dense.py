"""Rows and columns of what is dense in memory: sums, and snapping of rows, by threads that never meet Python."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

pytest.importorskip("numba", reason="kernels are compiled by numba")
import numba

from validator.exact import NonFinite, exact, kernels
from validator.exact.kernels import columns, dense, native, parallel
from validator.exact.random import Stream

SHAPES = [(1,), (3, 7), (2, 4096), (2, 4097), (5, 9000), (300, 1100), (1, 32769), (150_000,), (3, 0), (2, 3, 5)]
SHAPES += [(9, 2, 257), (3, 170, 600), (2000, 3, 2)]


@pytest.fixture(params=[1, 2], autouse=True)
def threads(request: pytest.FixtureRequest) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _normal(shape: tuple[int, ...]) -> Tensor:
    return Stream(b"dense", str(shape)).normal(shape)


def _slope(x: Tensor, first: float, last: float) -> Tensor:
    """Each value times a power of two that goes from 2^first to 2^last."""
    return (x.flatten() * torch.exp2(torch.linspace(first, last, x.numel()).round())).view(x.shape)


def _scales(x: Tensor) -> Tensor:
    """Some hundreds of values at a time of one of a few magnitudes, so that rows differ from the ones before."""
    steps = Stream(b"dense", "scales").integers(7, (x.numel() // 300 + 1,)).sub(3).mul(5)
    return (x.flatten() * torch.exp2(steps.repeat_interleave(300)[: x.numel()].float())).view(x.shape)


VALUES = {
    "normal": lambda x: x,
    "zeros": lambda x: x * 0.0,
    "denormals": lambda x: x * 1e-42,
    "ascending": lambda x: _slope(x, -140, 120),
    "descending": lambda x: _slope(x, 120, -140),
    "many scales": _scales,
    "large": lambda x: x * 3e37,
    "ties": lambda x: (x * 2.0**20).round() * 2.0**-21 + 2.0**9,
    "one large at the end": lambda x: torch.cat([x.flatten()[:-1], x.flatten()[-1:] * 2.0**30]).view(x.shape),
}


@pytest.mark.parametrize("values", VALUES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_sums_and_means__any_values_and_lengths__bits_of_the_eager_code(shape: tuple[int, ...], values: str) -> None:
    x = VALUES[values](_normal(shape))
    for dims in {(-1,), (0,), (x.dim() // 2,), tuple(range(x.dim())), tuple(range(max(1, x.dim() - 1)))}:
        for stored in (x, x.movedim(0, -1).contiguous().movedim(-1, 0)):
            with exact():
                found = [stored.sum(dims), stored.sum(dims, keepdim=True), stored.mean(dims) if x.numel() else x]
                with kernels.reference():
                    expected = [stored.sum(dims), stored.sum(dims, keepdim=True), stored.mean(dims) if x.numel() else x]
            for ours, theirs in zip(found, expected, strict=True):
                assert ours.shape == theirs.shape
                assert torch.equal(ours.contiguous().view(torch.int32), theirs.contiguous().view(torch.int32))


@pytest.mark.parametrize("values", VALUES)
def test_products__operands_in_rows_or_columns__bits_of_the_eager_code(values: str) -> None:
    a, b = VALUES[values](_normal((40, 300)))[:, :128] * 2.0**-20, VALUES[values](_normal((128, 9))) * 2.0**-20
    for left in (a, a.contiguous(), a.t().contiguous().t()):
        for right in (b, b.t().contiguous().t()):
            with exact():
                found = left @ right
                with kernels.reference():
                    expected = left @ right
            assert torch.equal(found.view(torch.int32), expected.view(torch.int32))


@pytest.mark.parametrize("wrong", [float("inf"), float("-inf"), float("nan")])
@pytest.mark.parametrize("place", [0, 5000, 149_999])
def test_sums__value_that_is_no_number__refused_wherever_it_is(wrong: float, place: int) -> None:
    x = _normal((150_000,))
    x[place] = wrong
    for stored in (x, x.view(10, 15_000), x.view(150, 1_000)):
        with exact(), pytest.raises(NonFinite, match=r"aten\.sum"):
            stored.sum(-1)
    for stored in (x.view(15, 10_000), x.view(150_000, 1), x.view(10, 100, 150)):
        with exact(), pytest.raises(NonFinite, match=r"aten\.mean"):
            stored.mean(stored.dim() - 2)
    with exact(), pytest.raises(NonFinite):
        x.view(150, 1_000) @ torch.ones(1_000, 1)


def test_job__threads_that_flush_denormals__leave_the_pieces_to_the_others() -> None:
    """A team whose second thread, which inherits the setting, would take denormals for zero."""
    x, out = torch.full((64, 4096), 1e-42), torch.zeros(64)
    seen: list[int] = []

    def team(entrance: object, address: int, threads: int, flags: int) -> None:
        torch.set_flush_denormal(True)
        entrance(address)  # type: ignore[operator]
        seen.append(int(out.count_nonzero()))
        torch.set_flush_denormal(False)
        entrance(address)  # type: ignore[operator]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "team", lambda: team)
        patch.setattr(dense, "threads_for", lambda values: 2)
        assert dense.sum_rows(x, out, 64, 4096, 41, 1)
    assert seen == [0]
    assert bool((out > 0).all())


def test_job__pieces_that_no_thread_did__are_never_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "team", lambda: lambda *_: None)
    monkeypatch.setattr(dense, "threads_for", lambda values: 2)
    with pytest.raises(RuntimeError, match="0 of 8 pieces"):
        dense.sum_rows(torch.ones(64, 4096), torch.empty(64), 64, 4096, 41, 1)


@native.native
def _when(job, piece):  # type: ignore[no-untyped-def]
    """How many pieces came before this one."""
    numba.carray(native.wholes(job[native.FIRST]), (job[native.FIRST + 1],))[piece] = job[native.FIRST + 2]
    job[native.FIRST + 2] += 1


def test_job__thread_by_its_number__does_its_own_range_first_and_then_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    second = ctypes.CFUNCTYPE(ctypes.c_int)(lambda: 1)
    monkeypatch.setattr(native, "team", lambda: lambda entrance, address, threads, flags: entrance(address))
    monkeypatch.setattr(native, "numbering", lambda: ctypes.cast(second, ctypes.c_void_p).value)
    order = torch.full((10,), -1)
    _when.over((order.data_ptr(), 10, 0, *[0] * 8), 10, 3)
    assert order.tolist() == [7, 8, 9, 0, 1, 2, 3, 4, 5, 6]


def test_numbering__in_a_team__every_thread_has_its_own() -> None:
    if parallel.team() is None:
        pytest.skip("torch's OpenMP runtime is not GNU's here")
    number, found = ctypes.CFUNCTYPE(ctypes.c_int)(parallel.numbering()), list[int]()
    parallel.team()(parallel._BODY(lambda _: found.append(number())), None, 2, 0)  # type: ignore[misc]
    assert sorted(found) == list(range(len(found)))
    assert number() == 0


def test_assembly__of_every_kernel__holds_no_fused_multiply_add() -> None:
    found = [one for module in (dense, columns) for one in vars(module).values() if isinstance(one, native.Native)]
    assert len(found) == 5
    for one in found:
        (text,) = one.assembly()
        assert "ret" in text
        assert not re.search(r"\bvfn?m(add|sub)", text)
