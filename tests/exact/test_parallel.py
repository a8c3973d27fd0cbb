"""Ranges of a loop on several threads: all of them run, or an exception says that not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

pytest.importorskip("numba", reason="kernels are compiled by numba")
from validator.exact.kernels import parallel

LARGE = 1 << 20


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.fixture(params=["team", "pool"])
def threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "pool":
        monkeypatch.setattr(parallel, "team", lambda: None)
    elif parallel.team() is None:
        pytest.skip("torch's OpenMP runtime is not GNU's here")


def test_split__large_loop__every_index_once(threads: None) -> None:
    ranges: list[tuple[int, int]] = []
    parallel.split(LARGE, 1, lambda start, stop: ranges.append((start, stop)))
    assert sorted(ranges) == [(0, LARGE // 2), (LARGE // 2, LARGE)]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_split__range_that_fails__its_error_is_raised(threads: None, error: type[BaseException]) -> None:
    def run(start: int, stop: int) -> None:
        if start == 0:
            raise error

    with pytest.raises(error):
        parallel.split(LARGE, 1, run)


def test_split__small_loop__runs_in_the_caller() -> None:
    ranges: list[tuple[int, int]] = []
    parallel.split(100, 1, lambda start, stop: ranges.append((start, stop)))
    assert ranges == [(0, 100)]


def test_in_team__range_lost_without_an_error__is_never_passed_over() -> None:
    """As when a signal's exception is raised before the body's own handler stands."""
    with pytest.raises(KeyboardInterrupt):
        parallel._in_team(lambda body, data, threads, flags: None, [(0, 1), (1, 2)], lambda start, stop: None)


def test_split__every_thread__keeps_denormals(threads: None) -> None:
    kept: list[bool] = []
    parallel.split(LARGE, 1, lambda start, stop: kept.append(1e-310 * 2.0 != 0.0))
    assert kept == [True, True]
