"""Batches found by counting bytes: within the limit, and of no consequence for a score."""

from __future__ import annotations

import pytest
import torch

from validator.exact import exact
from validator.exact.random import Stream
from validator.influence import Problem, Records, fit
from validator.influence.batching import Meter, anchor_like, batch_size, budget
from validator.influence.classical import copies
from validator.influence.curvature import directions_at_once
from validator.influence.folds import deal, objective_gradient
from validator.influence.models import build, initialise
from validator.influence.probes import Probes, batch_of


@pytest.fixture(scope="module")
def probes() -> Probes:
    """Twelve probes of an MLP 32-64-5."""
    stream = Stream(b"batching", "records")
    model = build("mlp", {"inputs": 32, "hidden": [64], "classes": 5, "activation": "relu"})
    initialise(model, stream)
    inputs, targets = stream.normal((40, 32)), stream.integers(5, (40,))
    problem = Problem(model, Records(inputs[:30], targets[:30]), Records(inputs[30:], targets[30:]))
    found = fit(problem, "mirrored", seed=1, proximal=0, steps=1, folds=6)
    assert isinstance(found, Probes)
    return found


@pytest.fixture(scope="module")
def records() -> Records:
    stream = Stream(b"batching", "newcomers")
    return Records(stream.normal((2000, 32)), stream.integers(5, (2000,)))


def test_meter__tensors_come_and_go__peak_is_what_was_alive_at_once() -> None:
    outside = torch.zeros(1000)
    with Meter() as meter:
        first = outside + 1
        second = first.view(10, 100) * 2
        del first
        third = torch.cat([second, second])
    assert (meter.live, meter.peak) == (12_000, 12_000)
    del second, third
    assert meter.live == 0


def test_meter__exact_inside__sees_the_work_of_the_rules() -> None:
    x = torch.ones(64, 64)
    with Meter() as plain:
        x @ x
    with Meter() as meter, exact():
        x @ x
    assert plain.peak == 64 * 64 * 4
    # Both operands in float64 at least.
    assert meter.peak >= 2 * 64 * 64 * 8


@pytest.mark.parametrize("limit", [1 << 18, 1 << 20, 1 << 22])
def test_batch_size__forward_passes__fill_the_limit_and_keep_it(limit: int, probes: Probes) -> None:
    def run(count: int) -> None:
        few = anchor_like(probes.problem, count)
        with exact(), torch.no_grad():
            probes.problem.network.logits(probes.problem.network.weights(), few.inputs)

    found = batch_size(run, 10**9, limit)
    with Meter() as meter:
        run(found)
    assert 0.9 * limit < meter.peak < 1.1 * limit


def test_batch_size__limit_below_one_item__is_one() -> None:
    assert batch_size(lambda count: torch.zeros(count, 100), 50, limit=1) == 1


def test_batch_size__shared_bytes__come_on_top() -> None:
    def run(count: int) -> None:
        torch.zeros(count, 100) + 1

    assert batch_size(run, 10**6, limit=80_000) == 100
    assert batch_size(run, 10**6, limit=80_000, shared=800) == 50


def test_batch_size__few_items__are_not_tried() -> None:
    asked: list[int] = []
    assert batch_size(asked.append, 3, limit=1) == 3
    assert asked == []


def test_budget__this_machine__is_positive() -> None:
    assert budget() > 0


def test_score__found_batch__same_bits_as_any_other(probes: Probes, records: Records) -> None:
    found = probes.score(records).values
    for chunk in (17, 300, 2000):
        assert torch.equal(probes.score(records, chunk=chunk).values, found)


def test_score__one_record_at_a_time__same_bits(probes: Probes, records: Records) -> None:
    few = records.select(torch.arange(20))
    assert torch.equal(probes.score(few, chunk=1).values, probes.score(few).values)


def test_batch__many_probes__score_within_the_budget(probes: Probes, records: Records) -> None:
    size = batch_of(probes.problem, probes.weights, len(records))
    assert 1 <= size <= len(records)
    with Meter() as meter:
        probes.score(records)
    assert meter.peak < 1.5 * budget()


@pytest.mark.parametrize("estimator", ["classical", "mirrored"])
def test_fit__hardly_any_memory__same_bytes(probes: Probes, estimator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    problem, few = probes.problem, {"classical": {"iterations": 2}, "mirrored": {"steps": 2}}[estimator]
    whole = fit(problem, estimator, seed=1, per_query=True, **few).to_bytes()
    monkeypatch.setattr("validator.influence.batching.MOST_BYTES", 1)
    assert directions_at_once(problem, 512, 10) == 1
    assert fit(problem, estimator, seed=1, per_query=True, **few).to_bytes() == whole


def test_directions_at_once__ample_memory__all(probes: Probes) -> None:
    assert directions_at_once(probes.problem, 512, 10) == 10


def test_objective_gradient__long_fold__is_the_mean_of_its_parts(probes: Probes) -> None:
    problem = probes.problem
    many = Problem(problem.model, problem.anchor, anchor_like(problem, 1200))
    weights = copies(many.network, 1)
    with exact(), torch.no_grad():
        whole = objective_gradient(many, many.network, weights, deal(1200, 1))
        # The anchor's 30 records, 40 times over.
        once = Problem(problem.model, problem.anchor, problem.anchor)
        part = objective_gradient(once, once.network, weights, deal(30, 1))
    for name, slope in whole.items():
        assert torch.allclose(slope, part[name], rtol=1e-4, atol=1e-7)


def test_anchor_like__more_than_the_anchor__repeats_it(probes: Probes) -> None:
    assert len(anchor_like(probes.problem, 65)) == 65
