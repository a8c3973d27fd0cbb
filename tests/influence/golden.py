"""Prints the digests of every estimator's fit and scores on small problems, as JSON.

    python -m tests.influence.golden                   what a test compares with tests/golden/influence.json
    python -m tests.influence.golden --regenerate      writes that file

A changed digest is a change of protocol. To accept one, raise validator.influence.VERSION and regenerate. A new
estimator is one line in ESTIMATORS, a new model one in PROBLEMS.

DIGEST_THREADS sets torch's threads, DIGEST_CHUNK the records scored at once.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from validator.exact.digest import digest
from validator.exact.random import Stream
from validator.influence import VERSION, Problem, Records, fit
from validator.influence.models import build, initialise
from validator.influence.records import NO_TARGET
from validator.influence.response import Response

GOLDEN = Path(__file__).parents[1] / "golden" / "influence.json"

ESTIMATORS: dict[str, tuple[str, dict[str, int | float]]] = {
    "classical": ("classical", {"iterations": 2, "rows": 20, "folds": 3}),
    "ekfac": ("ekfac", {"rows": 20, "folds": 3}),
    "mirrored": ("mirrored", {"steps": 3, "rows": 20, "folds": 3}),
    "mirrored, published": ("mirrored", {"proximal": 0, "steps": 2, "folds": 3}),
    "bayesian": ("bayesian", {"chains": 2, "draws": 6, "folds": 3}),
    "response": ("response", {"epochs": 2, "replicas": 2}),
    "response, Adam": ("response", {"epochs": 1, "replicas": 2, "settle": 1, "adam": 1, "learning_rate": 0.01}),
}
WORDS, LENGTH = 11, 6


class Tiny(nn.Module):
    """A language model of one gated layer: (n, LENGTH) tokens to logits (n, LENGTH, WORDS)."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.norm = nn.Embedding(WORDS, 8), nn.LayerNorm(8)
        self.mix, self.out = nn.Linear(8, 16), nn.Linear(8, WORDS)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens)
        value, gate = self.mix(self.norm(x)).chunk(2, -1)
        found: Tensor = self.out(x + value * torch.sigmoid(gate))
        return found


def images(name: str, model: nn.Module) -> tuple[Problem, Records]:
    stream = Stream(b"golden influence", name)
    initialise(model, stream)
    x, y = stream.uniform((64, 1, 8, 8)), stream.integers(10, (64,))
    records = [Records(x[start:end], y[start:end]) for start, end in ((0, 32), (32, 48), (48, 64))]
    return Problem(model, records[0], records[1]), records[2]


def sentences() -> tuple[Problem, Records]:
    stream = Stream(b"golden influence", "sentences")
    model = Tiny()
    initialise(model, stream)
    tokens = stream.integers(WORDS, (52, LENGTH + 1))
    targets = tokens[:, 1:].clone()
    targets[::3, 0] = NO_TARGET
    records = [Records(tokens[a:b, :-1], targets[a:b]) for a, b in ((0, 24), (24, 40), (40, 52))]
    return Problem(model, records[0], records[1]), records[2]


MLP = {"inputs": 64, "hidden": [24], "classes": 10, "activation": "gelu"}
CONVNET = {"channels": 1, "height": 8, "width": 8, "filters": [4, 6], "classes": 10, "activation": "relu"}
PROBLEMS = {
    "mlp": lambda: images("mlp", build("mlp", MLP)),
    "convnet": lambda: images("convnet", build("convnet", CONVNET)),
    "sequence": sentences,
}


def digests(chunk: int | None) -> dict[str, dict[str, str]]:
    """Of the fitted probes, and of the scores of records and of groups, by problem and estimator."""
    found = {}
    for problem_name, make in PROBLEMS.items():
        problem, records = make()
        groups = torch.arange(len(records)) % 5
        sized = {} if chunk is None else {"chunk": chunk}
        for name, (estimator, params) in ESTIMATORS.items():
            fitted = fit(problem, estimator, seed=b"golden", **params)
            alone, together = fitted.score(records, **sized), fitted.score(records, groups=groups, **sized)
            scores = [alone.values, alone.stderr, together.values, together.stderr]
            if isinstance(fitted, Response):
                ordered = fitted.in_order(
                    [records.select(torch.where(groups == g)[0]) for g in range(5)], lambda *_: True, **sized
                )
                scores += [ordered.values, ordered.stderr]
            found[f"{problem_name}: {name}"] = {"fit": fitted.digest().hex(), "scores": digest(scores).hex()}
    return found


def main() -> None:
    torch.set_num_threads(int(os.environ.get("DIGEST_THREADS", "1")))
    chunk = os.environ.get("DIGEST_CHUNK")
    answer = {"version": VERSION, "digests": digests(None if chunk is None else int(chunk))}
    text = json.dumps(answer, indent=1, sort_keys=True) + "\n"
    if sys.argv[1:] == ["--regenerate"]:
        GOLDEN.write_text(text)
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
