"""Prints the digests of each estimator: neither the threads nor the chunk of the command line may change one."""

from __future__ import annotations

import sys

import torch

from validator.exact.digest import digest
from validator.exact.random import Stream
from validator.influence import Problem, Records, fit
from validator.influence.models import build, initialise


def main(threads: int, chunk: int) -> None:
    torch.set_num_threads(threads)
    data = Stream(b"digest program", "records")
    inputs, targets = data.uniform((150, 1, 8, 8)), data.integers(10, (150,))
    model = build("mlp", {"inputs": 64, "hidden": [48], "classes": 10, "activation": "gelu"})
    initialise(model, Stream(b"digest program", "model"))
    records = [Records(inputs[start:end], targets[start:end]) for start, end in ((0, 64), (64, 128), (128, 150))]
    problem = Problem(model, records[0], records[1])
    groups = torch.arange(22) % 5
    for estimator, params in (
        ("response", {"epochs": 2, "replicas": 2}),
        ("classical", {"iterations": 3}),
        ("mirrored", {"steps": 3}),
    ):
        fitted = fit(problem, estimator, seed=11, **params)
        scores = fitted.score(records[2], groups=groups, chunk=chunk)
        print(estimator, fitted.digest().hex(), digest([scores.values, scores.stderr]).hex())


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
