"""`validator dao check` as a function: what it measures, what it refuses, what it warns of."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from validator.actions.advice import advise
from validator.actions.check import Check, CheckError, check, objective, refusals, run
from validator.actions.found import read_substance
from validator.actions.steward import Substance, rehearse
from validator.exact.random import Stream
from validator.families.hugging_face import build as build_hugging_face
from validator.families.hugging_face import from_config_json
from validator.influence import InfluenceError, Problem, Records
from validator.influence.models import build, dump_weights, initialise
from validator.manifest import Manifest
from validator.payload import encode_safetensors

RULES = {
    "name": "tiny",
    "model": {"family": "mlp", "config": {"inputs": 4, "hidden": [6], "classes": 3, "activation": "relu"}},
    "estimator": {"name": "response", "params": {"epochs": 1, "replicas": 2, "rows": 2, "batch": 8}},
    "payload": {
        "format": "safetensors",
        "dtype": "float32",
        "shape": [4],
        "minimum": "0",
        "maximum": "1",
        "classes": 3,
    },
    "limits": {"envelope_bytes": 4096, "min_records": 2, "max_records": 16},
    "scoring": {
        "objective": "expected_error",
        "kappa_milli": 1000,
        "floor": 0,
        "contribution_cap": 10**9,
        "memory_records": 1000,
    },
    "rewards": {"full_pool_score": 10**8, "contributor_cap_bps": 5000},
}
WORDS, LENGTH = 11, 6
LANGUAGE = {
    **RULES,
    "model": {
        "family": "gpt",
        "config": {"vocabulary": WORDS, "context": LENGTH, "width": 8, "heads": 2, "layers": 1},
    },
    "payload": {
        **RULES["payload"],  # type: ignore[dict-item]
        "task": "next_token",
        "dtype": "int64",
        "shape": [LENGTH],
        "maximum": str(WORDS - 1),
        "classes": WORDS,
    },
}


def records(count: int, name: str, low: float = 0.0) -> Records:
    stream = Stream(b"check", name)
    return Records(stream.uniform((count, 4)) + low, stream.integers(3, (count,)))


def substance(anchor: Records | None = None, **changes: object) -> Substance:
    model = build("mlp", RULES["model"]["config"])  # type: ignore[index]
    initialise(model, Stream(b"check", "model"))
    rules = {**RULES, **{key: {**RULES[key], **value} for key, value in changes.items()}}  # type: ignore[dict-item]
    return Substance(dump_weights(model), anchor or records(20, "anchor"), records(30, "queries"), rules)


def silent(what: str, done: int, total: int) -> None:
    """Nobody watches."""


def checked(subject: Substance, contributions: int = 5, size: int | None = 4) -> Check:
    return check(subject, contributions, size, silent)


# A folder that validators can score with


def test_check__sound_folder__measures_costs_and_scores() -> None:
    found = checked(substance())
    assert found.ok
    assert (found.parameters, found.anchor, found.queries, found.records) == (4 * 6 + 6 + 6 * 3 + 3, 20, 30, 4)
    assert found.cost is not None
    assert found.scored is not None
    assert len(found.scored.raw) == len(found.scored.stderr) == len(found.scored.payable) == 5
    assert found.cost.round >= found.cost.fit + 5 * 4 * found.cost.score
    assert found.cost.memory > 2**20
    assert json.loads(json.dumps(found.to_dict()))["ok"] is True


def test_check__run_twice__scores_alike() -> None:
    assert checked(substance()).scored == checked(substance()).scored


def test_check__progress__names_the_phases_and_ends_each() -> None:
    seen: dict[str, tuple[int, int]] = {}
    check(substance(), 3, 4, lambda what, done, total: seen.update({what: (done, total)}))
    assert seen["fitting response"] == (4, 4)
    assert seen["scoring 3 contributions"] == (1, 1)


def test_check__records_not_given__takes_what_the_limits_allow() -> None:
    assert checked(substance(), size=None).records == 16


def test_objective__more_records_than_a_batch__is_the_mean_over_all() -> None:
    _, problem = rehearse(substance())
    many = records(150, "many")
    with torch.no_grad():
        logits = problem.network.logits(problem.network.weights(), many.inputs)
        expected = problem.measure().value(logits, many.targets).mean()
    assert objective(problem, many) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize(("estimator", "form"), [("response", "safetensors"), ("classical", "jsonl")])
def test_check__folder_of_a_language_model__is_scored_end_to_end(tmp_path: Path, estimator: str, form: str) -> None:
    model = build("gpt", LANGUAGE["model"]["config"])  # type: ignore[index]
    initialise(model, Stream(b"check", "gpt"))
    tokens = Stream(b"check", "tokens").integers(WORDS, (30, LENGTH)).numpy()
    tokens[::3, 4:] = -1
    (tmp_path / "weights.safetensors").write_bytes(dump_weights(model))
    for name, rows in (("anchor", tokens[:12]), ("queries", tokens[12:])):
        (tmp_path / f"{name}.safetensors").write_bytes(encode_safetensors(rows))
    params = RULES["estimator"]["params"] if estimator == "response" else {"iterations": 2}  # type: ignore[index]
    payload = {**LANGUAGE["payload"], "format": form}  # type: ignore[dict-item]
    rules = {**LANGUAGE, "payload": payload, "estimator": {"name": estimator, "params": params}}
    (tmp_path / "manifest.toml").write_text(toml(rules))
    found = checked(read_substance(tmp_path))
    assert found.ok
    assert found.scored is not None
    assert any(found.scored.raw)


def test_check__folder_of_a_hugging_face_model__takes_its_config_json(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    sizes = {"vocab_size": WORDS, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    more = {"num_attention_heads": 2, "max_position_embeddings": LENGTH, "num_labels": 3}
    document = {"architectures": ["BertForSequenceClassification"], **sizes, **more}
    model = build_hugging_face(from_config_json(document)).model
    initialise(model, Stream(b"check", "bert"))
    (tmp_path / "config.json").write_text(json.dumps(document))
    (tmp_path / "weights.safetensors").write_bytes(dump_weights(model))
    for name, count in (("anchor", 8), ("queries", 6)):
        tokens = Stream(b"check", name).integers(WORDS, (count, LENGTH))
        data = encode_safetensors(tokens.numpy(), (tokens[:, 0] % 3).numpy())
        (tmp_path / f"{name}.safetensors").write_bytes(data)
    payload = {**RULES["payload"], "dtype": "int64", "shape": [LENGTH], "maximum": str(WORDS - 1)}  # type: ignore[dict-item]
    (tmp_path / "manifest.toml").write_text(toml({**RULES, "model": {"family": "transformers"}, "payload": payload}))
    assert checked(read_substance(tmp_path), contributions=1, size=2).ok


def toml(rules: dict[str, object]) -> str:
    """Nested tables of integers and texts, in the way of TOML."""

    def value(item: object) -> str:
        if isinstance(item, dict):
            return "{ " + ", ".join(f"{key} = {value(part)}" for key, part in item.items()) + " }"
        return json.dumps(item)

    return "\n".join(f"{key} = {value(part)}" for key, part in rules.items())


# Operators that have no exact rule


class Refused(nn.Module):
    """A layer whose forward pass, or whose gradient only, exact arithmetic does not know."""

    def __init__(self, call: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.odd, self.last = nn.Linear(4, 3), Odd(call), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.odd(self.first(x)))  # type: ignore[no-any-return]


class Odd(nn.Module):
    def __init__(self, call: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self._call = call

    def forward(self, x: Tensor) -> Tensor:
        return self._call(x)


@pytest.mark.parametrize(
    ("call", "during", "op", "where"),
    [
        (lambda x: torch.special.bessel_j0(x), "forward", "aten.special_bessel_j0", "odd (Odd)"),
        (lambda x: x.cumprod(-1), "forward", "aten.cumprod", "odd (Odd)"),
    ],
)
def test_run__operator_without_a_rule__names_it_and_its_module(
    call: Callable[[Tensor], Tensor], during: str, op: str, where: str
) -> None:
    manifest, _ = rehearse(substance())
    problem = Problem(Refused(call), records(20, "anchor"), records(30, "queries"))
    found = run(manifest, problem, 5, 4, silent)
    assert not found.ok
    assert found.cost is None
    assert [(one.during, one.op, one.where) for one in found.refused] == [(during, op, where)]
    assert found.to_dict()["refused"][0]["op"] == op


def test_refusals__model_of_supported_operators__none() -> None:
    assert refusals(rehearse(substance())[1]) == ()


def test_run__parameter_that_no_output_depends_on__is_said_in_one_line() -> None:
    module = Refused(torch.relu)
    module.register_parameter("idle", nn.Parameter(torch.zeros(2)))
    manifest, _ = rehearse(substance())
    with pytest.raises(CheckError, match="cannot be trained") as caught:
        run(manifest, Problem(module, records(20, "anchor"), records(30, "queries")), 5, 4, silent)
    assert "\n" not in str(caught.value)


# What is refused


@pytest.mark.parametrize("size", [1, 17])
def test_check__records_outside_the_limits__are_refused(size: int) -> None:
    with pytest.raises(CheckError, match=f"2 to 16 records, not {size}"):
        checked(substance(), size=size)


def test_check__anchor_that_no_payload_could_hold__is_refused() -> None:
    with pytest.raises(CheckError, match="anchor: no contributor could bring such records"):
        checked(substance(anchor=records(20, "anchor", low=0.5)))


def test_check__envelope_too_small_for_a_contribution__is_refused() -> None:
    with pytest.raises(CheckError, match="64 records is refused by limits"):
        checked(substance(limits={"envelope_bytes": 1024, "max_records": 64}), size=16 * 4)


def test_check__training_diverges__is_said_in_one_line() -> None:
    wild = {"params": {"epochs": 40, "learning_rate": "1000", "momentum": "0.9"}}
    with pytest.raises(InfluenceError, match="diverges") as caught:
        checked(substance(estimator=wild))
    assert "\n" not in str(caught.value)


# Warnings

QUIET = {
    "anchor": 100,
    "queries": 100,
    "present": 0.5,
    "contributions": 10,
    "records": 4,
    "scored": {"raw": [10**6, -(10**6), 0], "stderr": [10**6] * 3, "payable": [1, 0, 0], "trained": 0.6},
}


def manifest(**changes: dict[str, int]) -> Manifest:
    return rehearse(substance(**changes))[0]


def test_advise__everything_in_proportion__says_nothing() -> None:
    assert list(advise(manifest(), QUIET)) == []


@pytest.mark.parametrize(
    ("changes", "found", "words"),
    [
        ({}, {"anchor": 99}, "the anchor has 99 records"),
        ({}, {"queries": 99}, "there are 99 queries"),
        ({}, {"present": 0.4}, "worsens the objective from 0.4000 to 0.6000"),
        ({"scoring": {"kappa_milli": 0}}, {}, "kappa_milli is 0"),
        ({"scoring": {"floor": 2 * 10**9}}, {}, "floor exceeds contribution_cap"),
        ({}, {"present": 0.05}, "no round can earn its pool in full"),
        ({"rewards": {"full_pool_score": 10**5}}, {"scored": {**QUIET["scored"], "stderr": [2 * 10**5] * 3}},  # type: ignore[dict-item]
         "honest contributions would go unpaid"),
        ({"rewards": {"full_pool_score": 10**6 - 1}}, {"scored": {**QUIET["scored"], "stderr": [0] * 3}},  # type: ignore[dict-item]
         "one contribution would take the whole pool"),
        ({}, {"scored": {"raw": [10**4], "stderr": [1], "payable": [0], "trained": None}}, "a hundredth of the pool"),
        ({}, {"scored": {**QUIET["scored"], "payable": [10**6, 10**6, 0]}}, "7% of full_pool_score"),  # type: ignore[dict-item]
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)  # fmt: skip
def test_advise__one_thing_out_of_proportion__warns_of_it(
    changes: dict[str, dict[str, int]], found: dict[str, object], words: str
) -> None:
    warned = list(advise(manifest(**changes), {**QUIET, **found}))
    assert any(words in line for line in warned), warned
    assert all("\n" not in line for line in warned)


def test_check__small_data__is_warned_of() -> None:
    found = checked(replace(substance(), anchor=records(9, "few")))
    assert any("the anchor has 9 records" in line for line in found.warnings)
    assert found.ok
