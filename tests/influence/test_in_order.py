"""Contributions judged one after the other, each on top of those accepted before it."""

from __future__ import annotations

import math

import pytest
import torch

from validator.exact import exact
from validator.exact.random import Stream
from validator.influence import InfluenceError, Problem, Records, fit, load_probes
from validator.influence.descent import Descent
from validator.influence.records import concat
from validator.influence.response import Response
from validator.influence.training import ResponseSettings, Training

SHORT: dict[str, int] = {"epochs": 3, "replicas": 3}


def positive(raw: int, stderr: int) -> bool:
    return raw > stderr


def referee(problem: Problem, **params: float) -> Response:
    found = fit(problem, "response", seed=5, **(SHORT | params))
    assert isinstance(found, Response)
    return found


def parts_of(digits: Records) -> list[Records]:
    """Clean, mislabelled, clean again, a near-copy of the first, and clean."""
    cut = [digits.select(torch.arange(300 + 20 * index, 320 + 20 * index)) for index in range(3)]
    wrong = Records(digits.inputs[400:420], (digits.targets[400:420] + 4) % 10)
    copy = Records(torch.nextafter(cut[0].inputs, torch.tensor(2.0)), cut[0].targets)
    return [cut[0], wrong, cut[1], copy, cut[2]]


@pytest.mark.parametrize("chunk", [1, 2, 5])
def test_in_order__chunk__changes_no_bit(problem: Problem, digits: Records, chunk: int) -> None:
    response, parts = referee(problem, refresh=0.5, cool=1), parts_of(digits)
    whole, pieces = response.in_order(parts, positive), response.in_order(parts, positive, chunk=chunk)
    assert torch.equal(whole.values, pieces.values)
    assert torch.equal(whole.stderr, pieces.stderr)


def test_in_order__nothing_accepted__is_what_each_is_worth_alone(problem: Problem, digits: Records) -> None:
    response, parts = referee(problem), parts_of(digits)
    alone = response.score(concat(parts), torch.arange(100) // 20)
    found = response.in_order(parts, lambda raw, stderr: False)
    assert torch.equal(found.values, alone.values)
    assert torch.equal(found.stderr, alone.stderr)


@pytest.mark.parametrize("refresh", [0.0, 0.5])
def test_in_order__accepted_part__is_the_reference_and_start_of_the_next(
    problem: Problem, digits: Records, refresh: float
) -> None:
    response, parts = referee(problem, settle=0, refresh=refresh), parts_of(digits)
    found = response.in_order(parts[:1] + parts[2:3], lambda raw, stderr: True).values
    with exact(), torch.no_grad():
        trials, place = response._begin()
        runs = trials.runs
        first = runs.run(place.start, problem.anchor, parts[:1])
        both = concat([problem.anchor, parts[0]])
        start = runs.refreshed(first, len(both))
        drop = runs.objective(runs.run(start, both)) - runs.objective(runs.run(start, both, parts[2:3]))
        expected = drop.to(torch.float64).mean((0, 2))
    assert float(found[1]) == pytest.approx(float(expected[0]), abs=1e-9)


def test_in_order__near_copy__adds_a_fraction_of_the_original(problem: Problem, digits: Records) -> None:
    response, parts = referee(problem, epochs=10), parts_of(digits)
    values = response.in_order(parts, positive).values
    alone = response.score(concat(parts), torch.arange(100) // 20).values
    assert float(alone[3]) == pytest.approx(float(alone[0]), rel=1e-3)
    assert float(values[3]) < float(values[0]) / 4


def test_in_order__one_contribution_split_over_accounts__earns_what_it_would_in_one(
    problem: Problem, digits: Records
) -> None:
    response, whole = referee(problem, epochs=10, replicas=4), digits.select(torch.arange(300, 340))
    split = [whole.select(torch.arange(start, 40, 4)) for start in range(4)]
    one = float(response.in_order([whole], positive).values[0])
    many = response.in_order(split, lambda raw, stderr: True).values
    alone = response.score(concat(split), torch.arange(40) // 10).values
    assert float(many.sum()) == pytest.approx(one, rel=0.35)
    assert float(alone.sum()) > 1.2 * one


def test_in_order__part_on_which_training_diverges__counts_as_the_worst_and_harms_no_other(
    problem: Problem, digits: Records
) -> None:
    response, parts = referee(problem), parts_of(digits)
    absurd = Records(torch.full((4, 64), 3e38), torch.arange(4))
    found = response.in_order([parts[0], absurd, parts[2]], positive)
    without = response.in_order([parts[0], parts[2]], positive)
    assert torch.equal(found.values[[0, 2]], without.values)
    assert float(found.values[1]) < -0.1


def test_in_order__accepted_part_with_which_the_next_baseline_diverges__is_not_accepted(
    problem: Problem, digits: Records
) -> None:
    response, parts = referee(problem, epochs=1, rows=1), parts_of(digits)
    # The run takes 9 of the 200 rows and misses the absurd one; the next baseline takes every row of the reference.
    rare = concat([digits.select(torch.arange(300, 499)), Records(torch.full((1, 64), 3e38), torch.tensor([3]))])
    judged: list[int] = []

    def all_of_them(raw: int, stderr: int) -> bool:
        judged.append(raw)
        return True

    found = response.in_order([rare, parts[2]], all_of_them)
    assert found.to_fixed()[0][0] < judged[0]
    assert float(found.values[1]) == float(response.in_order([parts[2]], all_of_them).values[0])


def test_in_order__loaded_referee__same_bits(problem: Problem, digits: Records) -> None:
    response, parts = referee(problem), parts_of(digits)
    loaded = load_probes(problem, response.to_bytes())
    assert isinstance(loaded, Response)
    assert torch.equal(loaded.in_order(parts, positive).values, response.in_order(parts, positive).values)


def test_in_order__progress__counts_each_part_once(problem: Problem, digits: Records) -> None:
    seen: list[tuple[int, int]] = []
    referee(problem).in_order(parts_of(digits), positive, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (5, 5)
    assert seen == sorted(set(seen))


def test_in_order__no_parts__no_scores(problem: Problem) -> None:
    assert referee(problem).in_order([], positive).values.shape == (0,)


def test_in_order__per_query__is_refused(problem: Problem, digits: Records) -> None:
    found = fit(problem, "response", seed=5, per_query=True, **SHORT)
    assert isinstance(found, Response)
    with pytest.raises(InfluenceError, match="mean over the queries"):
        found.in_order(parts_of(digits), positive)


def test_in_order__most_steps__runs_are_no_longer_than_that_however_much_was_accepted(
    problem: Problem, digits: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps, step = list[int](), Descent.step
    monkeypatch.setattr(Descent, "step", lambda self, *given: steps.append(1) or step(self, *given))
    runs, run = list[int](), Training.run

    def counted(self: Training, *given: object, **more: object) -> object:
        before = len(steps)
        found = run(self, *given, **more)  # type: ignore[arg-type]
        runs.append(len(steps) - before)
        return found

    monkeypatch.setattr(Training, "run", counted)
    parts = parts_of(digits)
    long, short = referee(problem), referee(problem, most_steps=4)
    runs.clear()
    whole = short.in_order(parts, lambda raw, stderr: True, chunk=5)
    assert set(runs) == {4}
    assert torch.equal(whole.values, short.in_order(parts, lambda raw, stderr: True, chunk=2).values)
    runs.clear()
    long.in_order(parts, lambda raw, stderr: True, chunk=5)
    assert min(runs) > 4
    assert max(runs) > min(runs)


def test_in_order__runs_that_just_fit_into_most_steps__are_those_of_any_length(
    problem: Problem, digits: Records
) -> None:
    parts, accepts = parts_of(digits)[:2], lambda raw, stderr: True
    longest = math.ceil(3 * (80 + 20) / 32)  # on top of the first; what comes after the second is not asked
    free = referee(problem, most_steps=0).in_order(parts, accepts)
    fitting = referee(problem, most_steps=longest).in_order(parts, accepts)
    shorter = referee(problem, most_steps=longest - 1).in_order(parts, accepts)
    assert torch.equal(fitting.values, free.values)
    assert torch.equal(fitting.stderr, free.stderr)
    assert float(shorter.values[0]) == float(free.values[0])  # whose runs are two steps shorter
    assert float(shorter.values[1]) != float(free.values[1])


@pytest.mark.parametrize("chunk", [1, 3])
def test_in_order__reference_larger_than_a_run_takes__changes_no_bit_by_chunk(
    problem: Problem, digits: Records, chunk: int
) -> None:
    response = referee(problem, most_steps=2, batch=8)
    parts, accepts = parts_of(digits), lambda raw, stderr: True
    whole, pieces = response.in_order(parts, accepts), response.in_order(parts, accepts, chunk=chunk)
    assert torch.equal(whole.values, pieces.values)
    assert torch.equal(whole.stderr, pieces.stderr)


def test_orders__bounded_run__samples_the_reference_in_time_by_its_steps(
    problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, words = list[int](), Stream.words
    monkeypatch.setattr(Stream, "words", lambda self, n: asked.append(n) or words(self, n))
    runs = Training(problem, ResponseSettings(most_steps=4, replicas=2), b"seed")
    order = runs._orders_of("reference", 10_000_000, (4, 32), range(2))
    assert order.shape == (2, 4, 32)
    assert all(len(set(one.flatten().tolist())) == 128 for one in order)
    assert sum(asked) < 2 * 3 * 2 * 128


def test_to_bytes__most_steps_at_its_default__is_the_file_of_before_there_was_such_a_setting(problem: Problem) -> None:
    plain, limited, free = referee(problem), referee(problem, most_steps=10_000), referee(problem, most_steps=0)
    assert b"most_steps" not in plain.to_bytes()
    for other in (limited, free):
        assert b"most_steps" in bytes(other._tensors()["header"].tolist())
        assert load_probes(problem, other.to_bytes()).settings == other.settings
        assert torch.equal(plain.baseline, other.baseline)


def test_to_bytes__refresh_and_cool__are_read_back_and_left_out_at_their_defaults(problem: Problem) -> None:
    plain, shaken = referee(problem), referee(problem, refresh=0.5, cool=1)
    assert not any(word in plain.to_bytes() for word in (b"refresh", b"cool"))
    loaded = load_probes(problem, shaken.to_bytes())
    assert isinstance(loaded, Response)
    assert loaded.settings == shaken.settings
    assert all(torch.equal(loaded.start[name], w) for name, w in shaken.start.items())
