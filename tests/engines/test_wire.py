"""What travels between a node and its workers."""

from __future__ import annotations

import os
import pickle

import pytest
import torch

from tests.influence.tiny import tiny_problem
from validator.engines.errors import EngineError
from validator.engines.wire import KEY_BYTES, Raised, Sealer, name_of, pack, task_of, unpack
from validator.exact import NonFinite
from validator.influence.trials import train


def test_pack__problem__comes_back_with_the_same_digest() -> None:
    problem = tiny_problem()
    again = unpack(pack(problem))
    assert again.digest() == problem.digest()
    assert torch.equal(again.network.logits(again.network.weights(), again.anchor.inputs),
                       problem.network.logits(problem.network.weights(), problem.anchor.inputs))  # fmt: skip


@pytest.mark.parametrize("size", [0, 1, 1000, 3000])
def test_seal__any_size_of_pieces__opens_to_the_same(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("validator.engines.wire._PIECE", 1000)
    sealer, data = Sealer(os.urandom(KEY_BYTES)), os.urandom(size)
    sealed = sealer.seal(data, "job")
    assert sealer.open(sealed, "job") == data
    assert size < 16 or data[:16] not in sealed


@pytest.mark.parametrize("what", ["a bit", "cut", "another purpose", "another key", "pieces swapped", "nothing"])
def test_open__anything_else__is_refused_before_it_is_unpickled(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("validator.engines.wire._PIECE", 1000)
    sealer, purpose = Sealer(b"k" * KEY_BYTES), "job"
    sealed = bytearray(sealer.seal(os.urandom(2000), purpose))
    if what == "a bit":
        sealed[500] ^= 1
    elif what == "cut":
        del sealed[1028:]
    elif what == "another purpose":
        purpose = "answer"
    elif what == "another key":
        sealer = Sealer(b"j" * KEY_BYTES)
    elif what == "pieces swapped":
        sealed = sealed[1028:] + sealed[:1028]
    else:
        sealed = bytearray()
    with pytest.raises(EngineError, match="does not authenticate"):
        sealer.open(bytes(sealed), purpose)


def test_raised__exception_whose_constructor_takes_less__comes_back_as_it_was() -> None:
    error = NonFinite("aten.mm")
    error.where = "layers.3"
    again = pickle.loads(pickle.dumps(Raised.of(error))).error()
    assert type(again) is NonFinite
    assert (str(again), again.op) == (str(error), "aten.mm")


@pytest.mark.parametrize(("module", "name"), [("os", "system"), ("validator.influence.fit", "VERSION"),
                                               ("validator.influence.fit", "nothing")])  # fmt: skip
def test_task_of__no_function_of_influence__is_refused(module: str, name: str) -> None:
    with pytest.raises(EngineError, match="is no task"):
        task_of(module, name)


def test_name_of__what_a_worker_could_not_find__is_refused() -> None:
    assert task_of(*name_of(train)) is train
    for stranger in (os.system, lambda: None, tiny_problem):
        with pytest.raises(EngineError, match="is no task"):
            name_of(stranger)
