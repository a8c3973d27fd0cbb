"""The steward's folder, where its records are sequences."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.rounds.test_score import MANIFEST
from validator.actions.found import read_substance
from validator.actions.steward import StewardError, Substance, rehearse
from validator.influence import InfluenceError, Records
from validator.influence.models import build, dump_weights
from validator.payload import encode_safetensors

CONFIG: dict[str, int | str | list[int]] = {"inputs": 2, "hidden": [3], "classes": 2, "activation": "relu"}
WEIGHTS = dump_weights(build("mlp", CONFIG))


def folder(path: Path, anchor: bytes) -> Path:
    (path / "manifest.toml").write_text('name = "tiny"\n')
    (path / "weights.safetensors").write_bytes(WEIGHTS)
    (path / "anchor.safetensors").write_bytes(anchor)
    (path / "queries.safetensors").write_bytes(encode_safetensors(np.zeros((1, 2), np.float32), np.array([0])))
    return path


def test_read_substance__tokens_alone__get_the_next_token_as_target(tmp_path: Path) -> None:
    found = read_substance(folder(tmp_path, encode_safetensors(np.array([[7, 8, 9], [5, 6, -1]]))))

    assert found.anchor.inputs.tolist() == [[7, 8, 9], [5, 6, 0]]
    assert found.anchor.targets.tolist() == [[8, 9, -1], [6, -1, -1]]


@pytest.mark.parametrize(
    "anchor",
    [
        encode_safetensors(np.array([[0.5, 1]], np.float32)),
        encode_safetensors(np.array([1, 2])),
        encode_safetensors({"tokens": np.array([[1, 2]])}),
    ],
)
def test_read_substance__inputs_that_are_no_tokens__need_targets(tmp_path: Path, anchor: bytes) -> None:
    with pytest.raises(StewardError, match="inputs and targets"):
        read_substance(folder(tmp_path, anchor))


def test_read_substance__sequence_without_a_second_token__is_refused(tmp_path: Path) -> None:
    with pytest.raises(InfluenceError, match="no target"):
        read_substance(folder(tmp_path, encode_safetensors(np.array([[7, -1, -1]]))))


def substance(**payload: object) -> Substance:
    records = Records(torch.tensor([[0, 1], [1, 1]]), torch.tensor([0, 1]))
    document = MANIFEST.model_dump()
    rules = {key: document[key] for key in ("name", "estimator", "limits", "scoring", "rewards")}
    rules |= {"model": {"family": "mlp", "config": CONFIG}, "payload": {**document["payload"], **payload}}
    return Substance(WEIGHTS, records, records, rules)


def test_rehearse__queries_with_a_class_for_sequences__are_refused() -> None:
    with pytest.raises(StewardError, match=r"payload\.task next_token"):
        rehearse(substance(task="next_token", dtype="int64", minimum="0", maximum="1"))


def test_rehearse__queries_of_sequences_where_records_have_a_class__are_refused() -> None:
    sequences = Records(torch.tensor([[0, 1], [1, 1]]), torch.tensor([[1, -1], [1, -1]]))

    with pytest.raises(StewardError, match=r"payload\.task next_token"):
        rehearse(replace(substance(), queries=sequences))
