"""`response` on the demonstration's DAO: fit of the referee and records a second."""

from __future__ import annotations

import tomllib
from typing import Any

import torch
from measure import Row, compare

from validator.demo.crowd import Labelled, load_digits, split
from validator.demo.dao import MANIFEST, MODEL, train
from validator.influence import Problem, Records, fit
from validator.influence.models import build, load_weights

SEED = b"bench"
RECORDS = (64, 512)


def records(labelled: Labelled) -> Records:
    """The same as tensors."""
    return Records(torch.from_numpy(labelled.inputs), torch.from_numpy(labelled.targets))


def problem_and_pool() -> tuple[Problem, Records]:
    """The demonstration's problem of seed 0, and the records that its crowd brings."""
    parts = split(load_digits(), 0)
    model = build("mlp", MODEL)
    load_weights(model, train(parts.anchor, 0, lambda done, total: None))
    return Problem(model, records(parts.anchor), records(parts.queries)), records(parts.pool)


def parameters() -> dict[str, Any]:
    """The estimator's parameters as the demonstration's manifest has them."""
    given = tomllib.loads(MANIFEST)["estimator"]["params"]
    return {name: float(value) if isinstance(value, str) else value for name, value in given.items()}


def referee(repeats: int) -> list[Row]:
    """Seconds of the fit, and of scoring contributions of 32 records."""
    problem, pool = problem_and_pool()
    params = parameters()
    fitted = fit(problem, "response", seed=SEED, **params)
    works: dict[str, Any] = {"fit": lambda: fit(problem, "response", seed=SEED, **params)}
    for count in RECORDS:
        some = pool.select(torch.arange(count))
        groups = torch.arange(count) // 32
        works[f"score {count}"] = lambda some=some, groups=groups: fitted.score(some, groups=groups)
    taken = compare(works, repeats)
    rows = [Row("response, fit", taken["fit"], f"digest {fitted.digest().hex()[:16]}")]
    for count in RECORDS:
        timing = taken[f"score {count}"]
        note = f"{count / timing.median:,.0f} records/s"
        rows.append(Row(f"response, score {count} records in contributions of 32", timing, note))
    return rows
