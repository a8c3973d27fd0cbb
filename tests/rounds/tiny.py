"""The smallest DAO that can be scored: two inputs, two classes told apart by a sign."""

from __future__ import annotations

import hashlib

import torch

from validator.exact.random import Stream
from validator.influence import Problem, Records
from validator.influence.models import build, initialise
from validator.manifest import make_manifest
from validator.rounds.score import Digests, Judged, own_versions, score_round
from validator.rounds.types import Carry, Opened, Status, Submission, Terms

KEY = b"k" * 32
FILE = {"digest": "00" * 32, "codec": "raw", "size": 1}
MANIFEST = make_manifest(
    {
        "format": "poc-manifest/1",
        "name": "tiny",
        "versions": own_versions().model_dump(),
        "model": {"family": "mlp", "config": {"inputs": 2}, "weights": FILE},
        "sealed": {"file": FILE, "key_epoch": 1},
        "estimator": {"name": "response", "params": {"epochs": 10, "replicas": 4}},
        "payload": {
            "format": "safetensors",
            "dtype": "float32",
            "shape": [2],
            "minimum": "-9",
            "maximum": "9",
            "classes": 2,
        },
        "limits": {"envelope_bytes": 4096, "min_records": 1, "max_records": 64},
        "scoring": {
            "objective": "expected_error",
            "kappa_milli": 0,
            "floor": 0,
            "contribution_cap": 10**9,
            "memory_records": 1000,
        },
        "rewards": {"full_pool_score": 1, "contributor_cap_bps": 10_000},
    }
)
TERMS = Terms(1, "0x" + "ab" * 20, 1, 1, MANIFEST.digest(), b"b" * 32, b"s" * 32, 1_000, 1, 4)


def records(name: str, count: int, *, wrong: bool = False) -> Records:
    """Two classes told apart by the sign of the first input."""
    inputs = Stream(b"test", name).normal((count, 2))
    targets = (inputs[:, 0] > 0).to(torch.int64)
    return Records(inputs, 1 - targets if wrong else targets)


def tiny_problem() -> Problem:
    """A network of four hidden units that has seen eight records."""
    model = build("mlp", {"inputs": 2, "hidden": [4], "classes": 2, "activation": "relu"})
    initialise(model, Stream(b"test", "model"))
    return Problem(model, records("anchor", 8), records("queries", 60))


def submission(id_: int, contributor: str = "c") -> Submission:
    return Submission(id_, "0x" + contributor * 40, bytes([id_]) * 32, 0, 100, 1)


def opened(*items: Records | Status) -> list[Opened]:
    return [
        Opened(submission(id_), included=item not in (Status.UNAVAILABLE, Status.OVERSIZED), status=item)
        if isinstance(item, Status)
        else Opened(submission(id_), included=True, records=item)
        for id_, item in enumerate(items, start=TERMS.first_id)
    ]


def digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def sized(data: bytes, epoch: int) -> tuple[bytes, int]:
    return digest(data), len(data)


FILES = Digests(digest, digest, sized)


def judge(problem: Problem, items: list[Opened], carry: Carry | None = None, **more: object) -> Judged:
    return score_round(TERMS, MANIFEST, carry or Carry(), problem, KEY, items, FILES, **more)
