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
