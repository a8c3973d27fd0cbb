from __future__ import annotations

import json

import pytest

from tests.rounds.test_score import MANIFEST
from validator.manifest import ManifestError, make_manifest, parse_manifest


def edited(**changes: object) -> dict[str, object]:
    return {**json.loads(MANIFEST.to_bytes()), **changes}


def test_parse_manifest__its_own_bytes__come_back():
    assert parse_manifest(MANIFEST.to_bytes()) == MANIFEST


def test_arguments__decimal_strings__become_the_nearest_float():
    estimator = MANIFEST.estimator.model_copy(update={"params": {"rate": "0.1", "steps": 3}})
    assert estimator.arguments() == {"rate": 0.1, "steps": 3}


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (edited(format="poc-manifest/2"), "format"),
        (edited(surprise=1), "surprise"),
        (edited(name="<script>"), "name"),
        (edited(versions={"exact": 1.0, "influence": 1, "rounds": 1}), "versions.exact"),
        (edited(versions={"exact": True, "influence": 1, "rounds": 1}), "versions.exact"),
        (edited(estimator={"name": "response", "params": {"seed": 1}}), "cannot be set by a manifest"),
        (edited(estimator={"name": "response", "params": {"rate": "1e-3"}}), "estimator.params"),
        (edited(limits={"envelope_bytes": 4096, "min_records": 9, "max_records": 8}), "min_records exceeds"),
        ({}, "format"),
        ([], "manifest"),
    ],
)
def test_make_manifest__one_thing_wrong__names_it(document: object, words: str):
    with pytest.raises(ManifestError, match=words) as caught:
        make_manifest(document)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xff",
        b"[" * 60_000,
        b"0" * 70_000,
        json.dumps(json.loads(MANIFEST.to_bytes()), indent=1).encode(),
        MANIFEST.to_bytes().replace(b'"name":"tiny"', b'"name":"x","name":"tiny"'),
    ],
    ids=["empty", "cut", "not-text", "deep", "long", "spaced", "duplicate-key"],
)
def test_parse_manifest__hostile_bytes__are_refused_in_one_line(data: bytes):
    with pytest.raises(ManifestError) as caught:
        parse_manifest(data)
    assert "\n" not in str(caught.value)


def model(family: str, **config: object) -> dict[str, object]:
    return edited(model={"family": family, "config": config, "weights": MANIFEST.model.weights.model_dump()})


def test_parse_manifest__nested_configuration__comes_back():
    manifest = make_manifest(model("transformers", names=["a"], flag=True, rope={"theta": "10000", "deep": {"n": 1}}))
    assert parse_manifest(manifest.to_bytes()) == manifest


@pytest.mark.parametrize(
    "document",
    [
        model("oracle"),
        model("mlp", flag=True),
        model("mlp", rope={}),
        model("gpt", names=["a"]),
        model("mlp", widths=[1.0]),
        model("mlp", widths=[1] * 65),
        model("transformers", epsilon=1e-5),
        model("transformers", nothing=None),
        model("transformers", deep={"a": {"b": {"c": {}}}}),
        model("transformers", long="x" * 257),
        model("transformers", **{"x" * 257: 1}),
        model("transformers", wide=[0] * 65),
        model("transformers", huge=2**53 + 1),
        model("transformers", names={1: "a"}),
        model("transformers", **{f"entry{number}": 1 for number in range(65)}),
    ],
    ids=lambda document: str(document["model"])[:50],
)
def test_make_manifest__configuration_out_of_bounds__is_refused_in_one_line(document: object):
    with pytest.raises(ManifestError, match="model") as caught:
        make_manifest(document)
    assert "\n" not in str(caught.value)


def test_to_bytes__manifest_of_before_nested_configurations__keeps_its_digest():
    document = model("mlp", inputs=64, hidden=[64], classes=10, activation="relu")
    config = b'"config":{"activation":"relu","classes":10,"hidden":[64],"inputs":64},"family":"mlp"'
    assert config in make_manifest(document).to_bytes()
