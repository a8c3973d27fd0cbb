"""However the work is cut, and whoever does it: the bits of one process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from tests.influence.tiny import new_records, tiny_problem
from tests.rounds.tiny import judge, opened, records
from tests.rounds.tiny import tiny_problem as tiny_dao
from validator.engines.bench import Bench, job_of
from validator.engines.wire import name_of, pack, unpack
from validator.influence import InfluenceError, Problem, Records, fit
from validator.influence.engine import Done, cut
from validator.influence.foresight import Window
from validator.influence.response import Response
from validator.rounds.types import Status

PARAMS: dict[str, dict[str, int]] = {
    "response": {"epochs": 2, "replicas": 3, "settle": 1},
    "classical": {"iterations": 2},
    "ekfac": {},
    "mirrored": {"steps": 2},
    "bayesian": {"chains": 4, "draws": 4},
}


class Crowd:
    """As many workers as asked for, in this process: every value crosses the wire, shards are done last to first."""

    def __init__(self, width: int) -> None:
        self.width, self.shards = width, 0
        self._benches = [Bench("cpu", 1) for _ in range(width)]

    def map(
        self, task: Callable[..., Any], shared: tuple[object, ...], shards: Sequence[object], done: Done | None = None
    ) -> list[Any]:
        blobs = {str(id(value)): pack(value) for value in shared}
        found: dict[int, Any] = {}
        for position in reversed(range(len(shards))):
            self.shards += 1
            job = job_of(name_of(task), [str(id(value)) for value in shared], shards[position])
            answer = unpack(self._benches[position % self.width].work(job, blobs))
            if not isinstance(answer, tuple):
                raise answer.error()
            (found[position],) = answer
            if done is not None:
                done(position, found[position])
        return [found[position] for position in range(len(shards))]


@pytest.fixture(scope="module")
def problem() -> Problem:
    return tiny_problem()


@pytest.mark.parametrize(
    ("estimator", "per_query"), [*((name, False) for name in PARAMS), ("mirrored", True), ("bayesian", True)]
)
def test_fit_and_score__any_number_of_workers__same_bits(estimator: str, per_query: bool, problem: Problem) -> None:
    newcomers, groups, params = new_records(), torch.arange(25) // 5, PARAMS[estimator]
    alone = fit(problem, estimator, seed=3, per_query=per_query, **params)
    expected = alone.score(newcomers, groups)
    crowd = Crowd(5)
    found = fit(problem, estimator, seed=3, per_query=per_query, engine=crowd, **params)
    fitting = crowd.shards
    scores = found.score(newcomers, groups, engine=crowd)
    assert found.to_bytes() == alone.to_bytes()
    assert torch.equal(scores.values, expected.values)
    assert torch.equal(scores.stderr, expected.stderr)
    assert fitting > 1
    assert crowd.shards - fitting > 1


def parts_of(data: Records) -> list[Records]:
    """Five contributions, the second such that training on it leaves the finite range."""
    parts = [data.select(torch.arange(start, start + 5)) for start in range(0, 25, 5)]
    return [parts[0], Records(torch.full((5, 6), 3e38), parts[1].targets), *parts[2:]]


@pytest.mark.parametrize("more", [{}, {"batch": 4, "most_steps": 1}])
@pytest.mark.parametrize("width", [2, 7])
def test_in_order__any_number_of_workers__same_bits(width: int, more: dict[str, int], problem: Problem) -> None:
    found = fit(problem, "response", seed=3, **PARAMS["response"], **more)
    assert isinstance(found, Response)

    def accepts(raw: int, stderr: int) -> bool:
        return raw > -8_000_000

    parts = parts_of(new_records())
    alone, crowd = found.in_order(parts, accepts), found.in_order(parts, accepts, engine=Crowd(width))
    assert 0 < sum(accepts(raw, 0) for raw in alone.to_fixed()[0]) < 5
    assert torch.equal(crowd.values, alone.values)
    assert torch.equal(crowd.stderr, alone.stderr)


def test_score__record_that_no_arithmetic_survives__counts_for_the_worst_whoever_meets_it(problem: Problem) -> None:
    clean = new_records()
    inputs = clean.inputs.clone()
    inputs[7] = 3e38
    poisoned = Records(inputs, clean.targets)
    probes = fit(problem, "classical", seed=3, iterations=2)
    alone, crowd = probes.score(poisoned), probes.score(poisoned, engine=Crowd(30))
    assert torch.equal(alone.values, crowd.values)
    assert float(alone.values[7]) < -0.5


def test_fit__interrupted_and_resumed_on_other_workers__same_bytes(problem: Problem) -> None:
    parts: dict[str, bytes] = {}
    whole = fit(problem, "bayesian", seed=1, parts=parts, engine=Crowd(3), **PARAMS["bayesian"])
    del parts["chain-2"]
    assert fit(problem, "bayesian", seed=1, parts=parts, **PARAMS["bayesian"]).to_bytes() == whole.to_bytes()


def test_fit__what_a_task_refuses__is_raised_as_here(problem: Problem) -> None:
    absurd = {"learning_rate": 1e3, "momentum": 0.99, "epochs": 50, "replicas": 2}
    with pytest.raises(InfluenceError, match="diverges") as alone:
        fit(problem, "response", seed=1, **absurd)
    with pytest.raises(InfluenceError) as crowd:
        fit(problem, "response", seed=1, engine=Crowd(2), **absurd)
    assert str(crowd.value) == str(alone.value)


def test_score_round__workers__same_evidence_and_progress_names_its_phases() -> None:
    dao, items = tiny_dao(), opened(records("good", 20), records("bad", 20, wrong=True), Status.MALFORMED)
    told: list[tuple[str, int, int]] = []
    first = judge(dao, items)
    second = judge(dao, items, engine=Crowd(3), progress=lambda *step: told.append(step))
    assert second == first
    assert judge(dao, items, probes=first.probes, engine=Crowd(2)) == first
    assert [step for step in told if step[1] == step[2]] == [("fit", 4, 4), ("score", 3, 3)]


@pytest.mark.parametrize(
    ("count", "pieces", "longest"), [(0, 3, None), (1, 4, None), (7, 3, None), (10, 1, 4), (9, 9, 2)]
)
def test_cut__any__ranges_cover_everything_once(count: int, pieces: int, longest: int | None) -> None:
    found = cut(count, pieces, longest)
    assert [index for piece in found for index in piece] == list(range(count))
    assert all(1 <= len(piece) <= (longest or count) for piece in found)
    assert len(found) <= max(pieces, -(-count // (longest or max(count, 1))))


def test_window__nobody_tried_yet__doubles_after_refusals_and_starts_anew_after_an_acceptance() -> None:
    window = Window(1, 8)
    assert window.ahead(0) == 1
    window.learn(0, 1, [False])
    assert window.ahead(1) == 2
    window.learn(1, 2, [False, False])
    assert window.ahead(3) == 4
    window.learn(3, 1, [True, False, True, False])
    # Known from behind the accepted one: refused, accepted. So far, and no further.
    assert window.ahead(4) == 2
    window.learn(4, 2, [False, True])
    # Known: refused; and one that nobody has tried.
    assert window.ahead(6) == 2


def test_window__idle_workers__are_given_something_to_try() -> None:
    window = Window(4, 4)
    window.learn(0, 1, [True, True, True, True])
    assert window.ahead(1) == 4
