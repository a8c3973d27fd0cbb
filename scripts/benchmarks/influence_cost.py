"""What scoring costs beside a forward pass: fitted `classical` probes against the model that they were fitted to."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from measure import Timing, samples, timing

from validator.exact import exact, frozen
from validator.exact.random import Stream
from validator.influence import Problem, Records, fit
from validator.influence.models import build, initialise

BATCH, RECORDS = 256, 1024
SEED = b"bench"


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds for RECORDS records; `over_plain` and `over_exact` are times the seconds of one forward pass."""

    model: str
    work: str
    seconds: Timing
    over_plain: float
    over_exact: float


def costs(config: dict[str, object], repeats: int) -> list[Cost]:
    """Plain float32 and exact forward passes in batches of BATCH, then scoring with the probes of one fold and of the
    default.
    """
    problem, records = _problem(config)
    probes = {
        "folds=1": fit(problem, "classical", seed=SEED, folds=1),
        "default folds": fit(problem, "classical", seed=SEED),
    }
    weights, batches = problem.network.weights(), records.inputs.split(BATCH)

    def forward() -> None:
        for batch in batches:
            problem.network.logits(weights, batch)

    def exactly() -> None:
        with exact(), frozen(weights.values()):
            forward()

    works = {"plain forward": forward, "exact forward": exactly}
    works |= {f"score, {name}": lambda p=p: p.score(records, chunk=BATCH) for name, p in probes.items()}
    with torch.no_grad():
        taken = {name: timing(seconds) for name, seconds in samples(works, repeats).items()}
    plain, exact_one = taken["plain forward"].median, taken["exact forward"].median
    words = "mlp " + "-".join(map(str, [config["inputs"], *config["hidden"], config["classes"]]))  # type: ignore[misc]
    return [Cost(words, name, t, t.median / plain, t.median / exact_one) for name, t in taken.items()]


def _problem(config: dict[str, object]) -> tuple[Problem, Records]:
    """A network at its initial weights: what it has learned does not change what a pass costs."""
    module = build("mlp", config)  # type: ignore[arg-type]
    initialise(module, Stream(SEED, "cost/weights"))

    def some(name: str, count: int) -> Records:
        stream = Stream(SEED, f"cost/{name}")
        shape = (count, int(config["inputs"]))  # type: ignore[call-overload]
        return Records(stream.normal(shape), stream.integers(int(config["classes"]), (count,)))  # type: ignore[call-overload]

    return Problem(module, some("anchor", 64), some("queries", 16)), some("records", RECORDS)
