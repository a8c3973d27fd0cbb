"""What a contribution gains by shaking networks that have settled is taken off by a control run of it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.influence.conftest import make_problem
from tests.influence.test_in_order import SHORT, parts_of, referee
from validator.exact import NonFinite, exact
from validator.influence import InfluenceError, Problem, Records, Scores
from validator.influence.records import NO_TARGET
from validator.influence.response import Response
from validator.influence.training import ResponseSettings, Training, renamed


def noise_of_one_label(label: int) -> Records:
    """Random pixels of twice the range of the digits, all said to be the same digit."""
    generator = torch.Generator().manual_seed(2)
    return Records(torch.rand(20, 64, generator=generator) * 2, torch.full((20,), label))


def mixed(digits: Records) -> list[Records]:
    """Clean, noise of one label, mislabelled, clean again, noise of another, a near-copy, clean."""
    parts = parts_of(digits)
    return [parts[0], noise_of_one_label(7), parts[1], parts[2], noise_of_one_label(2), *parts[3:]]


@pytest.fixture(scope="module")
def settled(digits: Records) -> Problem:
    """A DAO of much data and few queries, on which long runs settle."""
    return make_problem(digits.select(torch.arange(400)), digits.select(torch.arange(400, 520)))


def judged(problem: Problem, parts: list[Records], control: float) -> tuple[Response, Scores]:
    response = referee(problem, epochs=20, most_steps=80, settle=4, control=control)
    return response, response.in_order(parts, lambda raw, stderr: False)


def test_in_order__noise_on_networks_that_have_settled__is_paid_without_a_control_and_not_with_it(
    settled: Problem, digits: Records
) -> None:
    parts = [noise_of_one_label(7), digits.select(torch.arange(600, 620))]
    (_, without), (response, found) = judged(settled, parts, 0), judged(settled, parts, 1)
    assert float(without.values[0] - without.stderr[0]) > 0
    assert float(found.values[0] - found.stderr[0]) < 0
    assert float(found.values[1]) == float(without.values[1]) > float(found.stderr[1])
    assert torch.equal(found.stderr, without.stderr)
    with exact(), torch.no_grad():
        trials, place = response._begin()
        ends = trials.runs.run(place.start, settled.anchor, parts[:1], control=True)
        gains = (place.baseline - trials.runs.objective(ends)[:, 0]).to(torch.float64).mean(1)
    taken = float(without.values[0] - found.values[0])
    assert taken == pytest.approx(float(gains.mean() + gains.std()), abs=1e-12)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(7)), chunk=st.integers(1, 7), bar=st.sampled_from([-20_000_000, 0, 10_000_000]))
def test_in_order__any_order_chunk_and_bar__changes_no_bit(
    problem: Problem, digits: Records, order: list[int], chunk: int, bar: int
) -> None:
    response, parts = referee(problem, replicas=2), [mixed(digits)[index] for index in order]
    whole, pieces = (response.in_order(parts, lambda raw, stderr: raw > bar, chunk=size) for size in (7, chunk))
    assert torch.equal(whole.values, pieces.values)
    assert torch.equal(whole.stderr, pieces.stderr)


def test_run__control__is_in_each_replica_the_run_of_the_records_under_other_names(
    problem: Problem, digits: Records
) -> None:
    runs = Training(problem, ResponseSettings(**SHORT), b"seed")
    turns, parts = runs._turns(range(3)).tolist(), parts_of(digits)[:2]
    with exact(), torch.no_grad():
        found = runs.run(runs.begin(), problem.anchor, parts, control=True)
        for replica in range(3):
            start = {name: w[replica : replica + 1] for name, w in runs.begin().items()}
            others = [Records(part.inputs, (part.targets + turns[replica]) % 10) for part in parts]
            expected = runs.run(start, problem.anchor, others, range(replica, replica + 1))
            assert all(torch.equal(found[name][replica : replica + 1], w) for name, w in expected.items())


def test_turns__replicas__rename_every_class_and_differ_while_there_are_names(problem: Problem) -> None:
    runs = Training(problem, ResponseSettings(replicas=12), b"seed")
    turns = runs._turns(range(12))
    assert sorted(turns[:9].tolist()) == list(range(1, 10))
    assert torch.equal(runs._turns(range(4, 11)), turns[4:11])


def test_renamed__no_target__stays_none() -> None:
    targets = torch.tensor([[[0, 4, NO_TARGET]], [[3, NO_TARGET, 1]]])
    assert renamed(targets, torch.tensor([1, 3]), 5).tolist() == [[[1, 0, NO_TARGET]], [[1, NO_TARGET, 4]]]


def test_in_order__control_that_diverges__takes_nothing_and_harms_no_other(problem: Problem, digits: Records) -> None:
    response, clean = referee(problem), digits.select(torch.arange(300, 340))
    with exact(), torch.no_grad():
        trials, place = response._begin()
        known = trials.runs._network.batched_logits(
            {name: w[:, 0] for name, w in place.start.items()}, problem.anchor.inputs.unsqueeze(0)
        ).argmax(-1)
    sure = int(torch.where((known == problem.anchor.targets).all(0))[0][0])
    # So large that a network which knows it has no slope at all, and one that is told another name has no finite one.
    huge = Records(problem.anchor.inputs[sure : sure + 1] * 1e30, problem.anchor.targets[sure : sure + 1])
    loud = Records(torch.cat([clean.inputs, huge.inputs]), torch.cat([clean.targets, huge.targets]))
    with exact(), torch.no_grad(), pytest.raises(NonFinite):
        trials.runs.run(place.start, problem.anchor, [loud], control=True)
    found = response.in_order([loud, clean], lambda raw, stderr: False)
    without = referee(problem, control=0).in_order([loud, clean], lambda raw, stderr: False)
    assert float(found.values[0]) > 0
    assert torch.equal(found.values, without.values)


@pytest.mark.parametrize("control", [-0.5, 11.0])
def test_fit__control_out_of_its_range__is_refused(problem: Problem, control: float) -> None:
    with pytest.raises(InfluenceError, match=r"control must be a number in 0\.0 \.\. 10\.0"):
        referee(problem, control=control)
