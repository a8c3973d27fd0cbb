"""`validator dao check`: a DAO's folder run end to end under exact arithmetic, before a round depends on it.

No chain, no keys, no store: weights, anchor and queries are put together as every validator will, the data pass the
payload parser, the estimator is fitted, and a few made-up contributions (records drawn from the anchor) are scored.
What it costs is measured on this machine and projected to a round.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from validator.actions.advice import advise
from validator.actions.made_up import CheckError, check_payload, draw, opening_seconds
from validator.actions.steward import Substance, rehearse
from validator.exact import ExactError, UnsupportedOp, exact
from validator.influence import InfluenceError, Problem, Records, fit
from validator.influence.engine import IN_PROCESS, Engine
from validator.influence.response import Response
from validator.manifest import Manifest
from validator.rounds.earnings import payable_score

Progress = Callable[[str, int, int], None]
"""Called with (what is going on, parts done, parts in all)."""

SEED = b"validator dao check"
SAMPLE = 8
"""Contributions that are made up and scored."""

_BATCH, _REPEATS = 64, 3


@dataclass(frozen=True, slots=True)
class Refusal:
    """An operator that exact arithmetic refuses: its aten name, the module that called it, and the whole message."""

    during: str
    op: str
    where: str
    message: str


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds measured on this machine, and bytes. `forward`, `gradient`, `score`: of one record. `passes`: what
    scoring takes, in plain forward passes of the same records. `opening`: parsing one contribution in its worker.
    `round`: a round of so many contributions, from fitting to scores. `memory`: the most that this process has held.
    """

    forward: float
    gradient: float
    fit: float
    score: float
    passes: float
    opening: float
    round: float
    memory: int


@dataclass(frozen=True, slots=True)
class Scored:
    """Made-up contributions: value and standard error of each, and what would be payable, in 1e-9 of the objective.
    `trained`: mean objective of the queries once `response` has trained on the anchor alone; None of other estimators.
    """

    raw: tuple[int, ...]
    stderr: tuple[int, ...]
    payable: tuple[int, ...]
    trained: float | None


@dataclass(frozen=True, slots=True)
class Check:
    """What was found. `present` and `anchor_present`: mean objective of the queries and of the anchor now. Without
    `cost` and `scored` when an operator is refused.
    """

    name: str
    family: str
    estimator: str
    objective: str
    parameters: int
    anchor: int
    queries: int
    contributions: int
    records: int
    refused: tuple[Refusal, ...]
    present: float | None = None
    anchor_present: float | None = None
    cost: Cost | None = None
    scored: Scored | None = None
    warnings: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether a validator can score with it; warnings do not count."""
        return not self.refused

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "ok": self.ok}


def check(
    substance: Substance,
    contributions: int,
    records: int | None,
    progress: Progress,
    engine: Engine = IN_PROCESS,
) -> Check:
    """Run what `publish` would publish, projected to a round of `contributions` of `records` records each (by default
    32, within the manifest's limits). Raises what `rehearse` raises, CheckError, and InfluenceError or ExactError when
    training leaves the finite range.
    """
    progress("putting together", 0, 1)
    manifest, problem = rehearse(substance)
    limits = manifest.limits
    size = records or min(max(limits.min_records, 32), limits.max_records)
    if not limits.min_records <= size <= limits.max_records:
        raise CheckError(f"contributions have {limits.min_records} to {limits.max_records} records, not {size}")
    for name, data in (("anchor", problem.anchor), ("queries", problem.queries)):
        check_payload(name, data, manifest)
    return run(manifest, problem, contributions, size, progress, engine)


def run(
    manifest: Manifest,
    problem: Problem,
    contributions: int,
    records: int,
    progress: Progress,
    engine: Engine = IN_PROCESS,
) -> Check:
    """`check` of a problem that has been put together."""
    found = Check(
        name=manifest.name,
        family=manifest.model.family,
        estimator=manifest.estimator.name,
        objective=manifest.scoring.objective,
        parameters=sum(w.numel() for w in problem.network.weights().values()),
        anchor=len(problem.anchor),
        queries=len(problem.queries),
        contributions=contributions,
        records=records,
        refused=refusals(problem),
    )
    if found.refused:
        return found
    crowd = draw(problem.anchor, min(SAMPLE, contributions), records, SEED)
    with _trainable():
        try:
            cost, scored = _measure(manifest, problem, crowd, contributions, progress, engine)
        except UnsupportedOp as error:  # curvature takes gradients of gradients, which meet operators of their own
            return replace(found, refused=(_refusal("fitting or scoring", error),))
        present, anchor_present = objective(problem, problem.queries), objective(problem, problem.anchor)
    found = replace(found, present=present, anchor_present=anchor_present, cost=cost, scored=scored)
    return replace(found, warnings=tuple(advise(manifest, found.to_dict())))


def refusals(problem: Problem) -> tuple[Refusal, ...]:
    """The first operator that exact arithmetic refuses in a forward pass of one record, and in its gradient."""
    refused: list[Refusal] = []
    for during, call in (("forward", forward), ("gradient", gradient)):
        try:
            with exact(), _trainable():
                call(problem, problem.anchor.select(torch.tensor([0])))
        except UnsupportedOp as error:
            refused.append(_refusal(during, error))
            break  # the gradient begins with a forward pass
    return tuple(refused)


def _refusal(during: str, error: UnsupportedOp) -> Refusal:
    return Refusal(during, error.op, error.where or "the model", " ".join(str(error).split()))


def forward(problem: Problem, records: Records) -> Tensor:
    """Logits of the records, inside exact()."""
    with torch.no_grad():
        return problem.network.logits(problem.network.weights(), records.inputs)


def gradient(problem: Problem, records: Records) -> None:
    """Gradient of each record's own training loss, inside exact()."""
    weights = {name: w.expand(len(records), *w.shape) for name, w in problem.network.weights().items()}
    loss, targets = problem.training(), records.targets.unsqueeze(1)
    problem.network.gradient(weights, records.inputs.unsqueeze(1), lambda logits: loss.slope(logits, targets))


def objective(problem: Problem, records: Records) -> float:
    """Mean objective of the records at the present weights, exactly."""
    with exact(), torch.no_grad():
        values = [problem.measure().value(forward(problem, part), part.targets) for part in records.split(_BATCH)]
        return float(torch.cat(values).to(torch.float64).mean())


def _measure(
    manifest: Manifest, problem: Problem, crowd: Records, contributions: int, progress: Progress, engine: Engine
) -> tuple[Cost, Scored]:
    sample = min(SAMPLE, contributions)
    size = len(crowd) // sample
    few, one = crowd.between(0, size), crowd.between(0, 1)
    progress("one forward pass, one gradient", 0, 1)
    with exact():
        forward_seconds = _seconds(lambda: forward(problem, few), _REPEATS) / size
        gradient_seconds = _seconds(lambda: gradient(problem, one), _REPEATS)
    started = time.perf_counter()
    estimator = manifest.estimator
    fitted = fit(
        problem,
        estimator=estimator.name,
        seed=SEED,
        progress=lambda done, total: progress(f"fitting {estimator.name}", done, total),
        engine=engine,
        **estimator.arguments(),
    )
    fit_seconds = time.perf_counter() - started
    opening = opening_seconds(few, manifest)
    started = time.perf_counter()
    words = f"scoring {sample} contributions"
    progress(words, 0, 1)
    scores = fitted.score(
        crowd,
        groups=torch.arange(len(crowd)) // size,
        progress=lambda done, total: progress(words, done, total),
        engine=engine,
    )
    raw, stderr = scores.to_fixed()
    each = (time.perf_counter() - started) / sample
    if isinstance(fitted, Response):
        each = _in_sequence(fitted, few, engine)
    progress(words, 1, 1)
    payable = tuple(payable_score(*score, manifest.scoring) for score in zip(raw, stderr, strict=True))
    cost = Cost(
        forward=forward_seconds,
        gradient=gradient_seconds,
        fit=fit_seconds,
        score=each / size,
        passes=each / size / forward_seconds,
        opening=opening,
        round=fit_seconds + contributions * (each + opening),
        memory=_peak_memory(),
    )
    trained = float(fitted.baseline.to(torch.float64).mean()) if isinstance(fitted, Response) else None
    return cost, Scored(raw, stderr, payable, trained)


def _in_sequence(fitted: Response, few: Records, engine: Engine) -> float:
    """Seconds of a contribution in a round that accepts all of them, the dearest: one run with it, one baseline and,
    which not every sample would need, its control, a third of the same length.
    """
    plain = replace(fitted, settings=replace(fitted.settings, control=0.0))
    started = time.perf_counter()
    plain.in_order([few, few], lambda raw, stderr: True, engine=engine)
    return (time.perf_counter() - started) / 2 * (1.5 if fitted.settings.control else 1)


@contextmanager
def _trainable() -> Iterator[None]:
    """What torch raises of a model that cannot be trained is the steward's to read, in one line."""
    try:
        yield
    except (ExactError, InfluenceError):
        raise
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        raise CheckError(f"the model cannot be trained: {' '.join(str(error).split())[:300]}") from error


def _seconds(call: Callable[[], object], repeats: int) -> float:
    """The shortest of some runs, after one that warms up."""
    call()
    found = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        found.append(time.perf_counter() - started)
    return min(found)


def _peak_memory() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
