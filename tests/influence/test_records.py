from __future__ import annotations

import pickle

import pytest
import torch

from validator.influence import InfluenceError, Problem, Records
from validator.influence.groups import members
from validator.influence.records import Growing, concat


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


@pytest.mark.parametrize(("size", "lengths"), [(2, [2, 2, 1]), (5, [5]), (7, [5])])
def test_split__pieces__are_all_records_in_order_in_the_same_memory(size: int, lengths: list[int]) -> None:
    whole = records(5)
    pieces = whole.split(size)
    assert [len(piece) for piece in pieces] == lengths
    assert concat(pieces).inputs.tolist() == whole.inputs.tolist()
    assert concat(pieces).targets.tolist() == whole.targets.tolist()
    assert pieces[-1].inputs.untyped_storage().data_ptr() == whole.inputs.untyped_storage().data_ptr()


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


def test_growing__many_added__are_those_of_one_concatenation_and_leave_the_first_as_it_was() -> None:
    first, parts = records(3), [records(n) for n in (1, 4, 2, 7, 0, 1)]
    grown, whole, seen = Growing(first), first, [first]
    for part in parts:
        whole = grown.with_more(whole, part)
        seen.append(whole)
    for count, one in enumerate(seen):
        assert torch.equal(one.inputs, concat([first, *parts[:count]]).inputs)
        assert torch.equal(one.targets, concat([first, *parts[:count]]).targets)


def test_growing__something_else_behind_the_same__gives_up_what_stood_there() -> None:
    grown, first = Growing(records(3)), records(3)
    before = grown.with_more(first, records(2))
    grown.with_more(before, records(4))
    other = Records(torch.full((2, 2), 9.0), torch.tensor([8, 8]))
    assert torch.equal(grown.with_more(before, other).targets, torch.tensor([0, 1, 2, 0, 1, 8, 8]))


def test_growing__many_times__looks_at_and_moves_no_more_than_a_few_times_what_is_added(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    moved, new_empty = list[int](), torch.Tensor.new_empty
    monkeypatch.setattr(torch.Tensor, "new_empty", lambda self, shape: moved.append(shape[0]) or new_empty(self, shape))
    grown, whole = Growing(records(1)), records(1)
    for _ in range(1_000):
        whole = grown.with_more(whole, records(2))
    assert sum(moved) < 10 * 2 * len(whole)  # of inputs and targets: a geometric series


def test_growing__another_kind__is_refused() -> None:
    with pytest.raises(InfluenceError, match="cannot be added"):
        Growing(records(2)).with_more(records(2), Records(torch.zeros(1, 3), torch.tensor([0])))


def test_pickle__part_of_a_growing_whole__carries_itself_alone() -> None:
    grown = Growing(records(1_000))
    small = grown.with_more(records(1_000).select(torch.arange(2)), records(1))
    sent = pickle.dumps(small)
    assert len(sent) < 2_000
    assert torch.equal(pickle.loads(sent).inputs, small.inputs)


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
