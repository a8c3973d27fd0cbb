from __future__ import annotations

import pytest
import torch

from validator.influence import InfluenceError, Problem, Records
from validator.influence.groups import members
from validator.influence.records import concat


def records(n: int) -> Records:
    return Records(torch.arange(2.0 * n).reshape(n, 2), torch.arange(n) % 3)


def test_records__lengths_differ__are_refused() -> None:
    with pytest.raises(InfluenceError, match="3 targets do not match"):
        Records(torch.zeros(2, 2), torch.zeros(3, dtype=torch.int64))


def test_records__targets_not_int64__are_refused() -> None:
    with pytest.raises(InfluenceError, match="int64"):
        Records(torch.zeros(2, 2), torch.zeros(2, dtype=torch.int32))


def test_records__negative_class__is_refused() -> None:
    with pytest.raises(InfluenceError, match="negative class"):
        Records(torch.zeros(2, 2), torch.tensor([0, -1]))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_records__input_not_finite__is_refused(bad: float) -> None:
    with pytest.raises(InfluenceError, match="NaN or infinity"):
        Records(torch.tensor([[0.0, bad]]), torch.tensor([0]))


def test_select__repeats_and_order__are_kept() -> None:
    chosen = records(4).select(torch.tensor([3, 0, 3]))
    assert chosen.inputs.tolist() == [[6, 7], [0, 1], [6, 7]]
    assert chosen.targets.tolist() == [0, 0, 0]


def test_concat__parts__come_one_after_the_other() -> None:
    both = concat([records(2), records(3)])
    assert len(both) == 5
    assert both.targets.tolist() == [0, 1, 0, 1, 2]


def test_concat__other_shape__is_refused() -> None:
    with pytest.raises(InfluenceError, match="different dtype or shape"):
        concat([records(2), Records(torch.zeros(1, 3), torch.tensor([0]))])


def test_concat__nothing__is_refused() -> None:
    with pytest.raises(InfluenceError, match="nothing"):
        concat([])


def test_members__interleaved_ids__ascending_ids_and_positions() -> None:
    found = members(5, torch.tensor([9, -2, 9, 4, -2]))
    assert [part.tolist() for part in found] == [[1, 4], [3], [0, 2]]


def test_members__no_groups__each_record_alone() -> None:
    assert [part.tolist() for part in members(3, None)] == [[0], [1], [2]]


def test_members__ids_of_other_length__are_refused() -> None:
    with pytest.raises(InfluenceError, match="shape"):
        members(3, torch.tensor([1, 2]))


def test_problem__unknown_objective__is_refused() -> None:
    with pytest.raises(InfluenceError, match="expected_error, cross_entropy"):
        Problem(torch.nn.Linear(2, 3), records(2), records(2), objective="accuracy")


def test_problem__no_queries__is_refused() -> None:
    with pytest.raises(InfluenceError, match="must not be empty"):
        Problem(torch.nn.Linear(2, 3), records(2), records(0))


def test_problem__target_beyond_classes__is_refused() -> None:
    with pytest.raises(InfluenceError, match="class"):
        Problem(torch.nn.Linear(2, 2), records(3), records(3))


def test_problem__inputs_do_not_fit_the_model__are_refused() -> None:
    with pytest.raises(InfluenceError, match="model"):
        Problem(torch.nn.Linear(5, 3), records(3), records(3))
