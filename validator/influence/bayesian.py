"""`bayesian`: the local Bayesian influence function (Kreer et al. 2025): how a record's loss and the objective vary
together over the posterior of the weights around theta.

    influence(z) = n_beta / N * Cov(loss(z; w), objective(w))

is the drop of the expected objective when z joins the N anchor records. A draw is a probe: scoring is forward passes.
In the limit of small draws this is the influence function with damping gamma / n_beta; draws of a finite radius see
the losses as they really bend there.

Three things make few draws enough, without a bias in the limit:
- draws live in the stiff directions of the loss (see subspace.py): along the others losses hardly vary together;
- with `thinning=0` they are draws of the local Gaussian, spread evenly (random orthogonal frames) instead of
  independent: in a full frame the covariances of linear losses have no sampling error at all;
- chains come in antithetic pairs, and coefficients take the odd part of the objective over a pair, so that the
  curvature of the losses, the same at both ends, drops out instead of adding noise.

With `thinning > 0` each chain walks the posterior itself by Langevin steps (see chains.py).
"""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass

import torch
from safetensors.torch import save
from torch import Tensor

from validator.exact import NonFinite, exact, frozen
from validator.exact.random import Stream
from validator.influence.chains import Local, Walk, walk
from validator.influence.curvature import GaussNewton, dots, flatten, unflatten
from validator.influence.diagnostics import refuse_diverged, refuse_unconverged
from validator.influence.engine import IN_PROCESS, Engine
from validator.influence.errors import InfluenceError
from validator.influence.folds import Folds, deal
from validator.influence.models import Kinds, load_tensors
from validator.influence.posterior import Posterior
from validator.influence.problem import Problem
from validator.influence.records import NO_TARGET, Records
from validator.influence.response import Progress
from validator.influence.settings import Settings, limited
from validator.influence.subspace import BLOCK, conjugate_rows, signed_gradients, spread_points
from validator.influence.traces import traces

NAME = "bayesian"
_WITNESSES = 256
"""Anchor records, at most, whose loss is traced for the diagnostics."""


@dataclass(frozen=True, slots=True)
class BayesianSettings(Settings):
    """`chains` (even) times `draws` draws, in a subspace of one dimension a pair of draws.

    `damping` is relative to the trace of the curvature over the root of the number of the anchor's targets, as a ridge
    that balances bias and variance falls (Caponnetto & De Vito 2007); the localisation is `gamma = n_beta damping`.
    `n_beta` 0: the inverse temperature at which draws of the local Gaussian are, in the root mean square, `radius` of
    the weights' length away. `thinning` Langevin steps between draws, 0: draws of the local Gaussian; `burn_in` steps
    before the first, `step` relative to the inverse of the largest curvature, `batch` anchor records a step, 0: all of
    them.
    """

    chains: int = limited("chains", 8, 2, 4096)
    draws: int = limited("draws", 128, 4, 2**16)
    damping: float = limited("damping", 0.01, 1e-9, 1e9)
    radius: float = limited("radius", 0.1, 1e-6, 1e3)
    n_beta: float = limited("n_beta", 0.0, 0.0, 1e30)
    thinning: int = limited("thinning", 0, 0, 100_000)
    burn_in: int = limited("burn_in", 64, 0, 10_000_000)
    step: float = limited("step", 0.5, 1e-6, 1.0)
    batch: int = limited("batch", 0, 0, 2**20)
    folds: int = limited("folds", 4, 1, 2**16)

    def __post_init__(self) -> None:
        # The zero-argument super() does not find a class that slots have replaced.
        Settings.__post_init__(self)
        if self.chains % 2:
            raise InfluenceError(f"chains must be even, they come in antithetic pairs, not {self.chains}")

    def pairs(self) -> int:
        """Antithetic pairs of draws."""
        return self.chains // 2 * self.draws


def fit_bayesian(
    problem: Problem,
    settings: BayesianSettings,
    seed: bytes,
    per_query: bool,
    progress: Progress,
    parts: MutableMapping[str, bytes],
    engine: Engine = IN_PROCESS,
) -> Posterior:
    """Find the subspace, then draw chain by chain, each a shard; finished ones are taken from and put into `parts`."""
    folds = _folds(problem, settings, per_query)
    try:
        with exact(), torch.no_grad():
            local = _local(problem, settings, seed, parts)
            points = spread_points(settings.pairs(), len(local.directions), Stream(seed, "bayesian/frames"))
        progress(1, settings.chains + 1)
        _draw_missing(local, settings, seed, points, progress, parts, engine)
    except NonFinite as error:
        raise InfluenceError(f"a draw leaves the finite range, take a smaller radius: {error}") from error
    chains = [_chain(local, settings, parts[_key(chain)]) for chain in range(settings.chains)]
    with exact(), torch.no_grad():
        anchor, queries = (torch.cat([chain[key] for chain in chains]) for key in ("anchor", "queries"))
        flat = torch.cat([local.weights(chain["coordinates"]) for chain in chains])
        posterior = Posterior(
            problem,
            NAME,
            settings,
            seed,
            per_query,
            unflatten(flat, problem.network.weights()),
            _coefficients(local, settings, queries, folds),
            torch.arange(len(folds)),
            folds.sizes(),
            torch.stack([anchor, queries.mean(1)]).reshape(2, settings.chains, settings.draws),
            _rules(local, seed),
        )
        refuse_diverged(posterior.trace[0].mean() - posterior.rules[2], problem.classes)
    if settings.thinning:
        refuse_unconverged(posterior.diagnostics())
    return posterior


def load_bayesian(
    problem: Problem, settings: BayesianSettings, seed: bytes, per_query: bool, header: Tensor, data: bytes
) -> Posterior:
    """Read what `to_bytes` wrote, its header read already. Raises InfluenceError when tensors do not fit."""
    folds, weights = _folds(problem, settings, per_query), problem.network.weights()
    count = settings.chains * settings.draws
    expected: Kinds = {
        "header": (torch.uint8, tuple(header.shape)),
        "coefficients": (torch.float64, (len(folds), count)),
        "columns": (torch.int64, (len(folds),)),
        "sizes": (torch.int64, (len(folds),)),
        "trace": (torch.float64, (2, settings.chains, settings.draws)),
        "rules": (torch.float64, (4,)),
    }
    expected |= {f"probe/{name}": (w.dtype, (count, *w.shape)) for name, w in weights.items()}
    found = load_tensors(data, expected)
    if not torch.equal(found["columns"], torch.arange(len(folds))) or not torch.equal(found["sizes"], folds.sizes()):
        raise InfluenceError("the probe file deals the queries in another way than its parameters say")
    probes = {name: found[f"probe/{name}"] for name in weights}
    rest = (found[key] for key in ("coefficients", "columns", "sizes", "trace", "rules"))
    return Posterior(problem, NAME, settings, seed, per_query, probes, *rest)


def _folds(problem: Problem, settings: BayesianSettings, per_query: bool) -> Folds:
    queries = len(problem.queries)
    return deal(queries, queries if per_query else settings.folds)


def _local(problem: Problem, settings: BayesianSettings, seed: bytes, parts: MutableMapping[str, bytes]) -> Local:
    theta = flatten({name: w.unsqueeze(0) for name, w in problem.network.weights().items()})
    curvature = GaussNewton(problem)
    targets = int((problem.anchor.targets != NO_TARGET).sum())
    rank = min(settings.pairs(), theta.shape[1], targets * (problem.classes - 1))
    if "subspace" not in parts:
        with frozen([*problem.network.weights().values(), problem.anchor.inputs]):
            trace = curvature.trace(Stream(seed, "curvature/trace"), 8)
            damping = trace * settings.damping / torch.sqrt(torch.tensor(float(targets)))
            start = signed_gradients(problem, min(BLOCK, rank, targets), Stream(seed, "bayesian/subspace"))
            rows = conjugate_rows(curvature, damping, rank, start)
        parts["subspace"] = bytes(save({"directions": rows.contiguous(), "damping": damping.reshape(1)}))
    kinds: Kinds = {"directions": (torch.float32, (rank, theta.shape[1])), "damping": (torch.float32, (1,))}
    part = load_tensors(parts["subspace"], kinds)
    return Local(problem, theta, part["directions"], part["damping"][0], _n_beta(theta, part["directions"], settings))


def _n_beta(theta: Tensor, directions: Tensor, settings: BayesianSettings) -> Tensor:
    """The inverse temperature, a float64 scalar: the mean squared distance of draws is that of the directions over
    it.
    """
    if settings.n_beta > 0:
        return torch.tensor(settings.n_beta, dtype=torch.float64)
    reach = dots(theta, theta).squeeze().to(torch.float64)
    spread = dots(directions, directions).to(torch.float64).sum()
    return spread / (torch.where(reach > 0, reach, 1.0) * settings.radius * settings.radius)


def _draw_missing(
    local: Local,
    settings: BayesianSettings,
    seed: bytes,
    points: Tensor,
    progress: Progress,
    parts: MutableMapping[str, bytes],
    engine: Engine,
) -> None:
    missing = [chain for chain in range(settings.chains) if _key(chain) not in parts]
    finished = settings.chains - len(missing)
    for had in range(finished):
        progress(2 + had, settings.chains + 1)

    def keep(position: int, found: dict[str, Tensor]) -> None:
        nonlocal finished
        parts[_key(missing[position])] = bytes(save(found))
        finished += 1
        progress(1 + finished, settings.chains + 1)

    engine.map(chain_draws, (local, settings, seed, points), missing, keep)


def _key(chain: int) -> str:
    return f"chain-{chain}"


def chain_draws(local: Local, settings: BayesianSettings, seed: bytes, points: Tensor, chain: int) -> dict[str, Tensor]:
    """Task: one chain's `coordinates` float32 (draws, k), `anchor` mean losses float64 (draws,), `queries` objectives
    (draws, queries).
    """
    with exact(), torch.no_grad():
        coordinates = _draw(local, settings, seed, chain, points)
        problem, weights = local.problem, unflatten(local.weights(coordinates), local.problem.network.weights())
        losses = traces(problem, weights, _witnesses(problem, seed), problem.training().value)
        objective = traces(problem, weights, problem.queries, problem.measure().value)
        found = {"coordinates": coordinates, "anchor": losses.mean(1), "queries": objective}
        return {name: tensor.contiguous() for name, tensor in found.items()}


def _chain(local: Local, settings: BayesianSettings, part: bytes) -> dict[str, Tensor]:
    """A chain as `chain_draws` gave it."""
    draws = settings.draws
    return load_tensors(
        part,
        {
            "coordinates": (torch.float32, (draws, local.directions.shape[0])),
            "anchor": (torch.float64, (draws,)),
            "queries": (torch.float64, (draws, len(local.problem.queries))),
        },
    )


def _draw(local: Local, settings: BayesianSettings, seed: bytes, chain: int, points: Tensor) -> Tensor:
    mine = points[chain // 2 :: settings.chains // 2].to(torch.float32) * (1 - 2 * (chain % 2))
    if not settings.thinning:
        return mine
    how = Walk(settings.burn_in, settings.thinning, settings.step, settings.batch)
    steepness = local.steepness(mine[:1], Stream(seed, "bayesian/power"))
    return walk(local, mine[:1], settings.draws, how, steepness, seed, chain)


def _coefficients(local: Local, settings: BayesianSettings, queries: Tensor, folds: Folds) -> Tensor:
    """Coefficients float64 (columns, draws) from the objective of each query at each draw, (draws, queries)."""
    members = torch.zeros(len(folds), queries.shape[1], dtype=torch.float64)
    members = members.scatter_add(1, folds.positions, folds.share.to(torch.float64))
    columns = (queries @ members.T).reshape(-1, 2, settings.draws, len(folds))
    odd = (columns[:, 0] - columns[:, 1]) / 2
    weight = odd * (local.n_beta / (2 * len(local.problem.anchor) * settings.pairs()))
    return torch.stack([weight, -weight], 1).reshape(-1, len(folds)).T.contiguous()


def _rules(local: Local, seed: bytes) -> Tensor:
    """See Posterior. The expected rise is half the effective dimension, `tr G (G + damping)^-1`, over n_beta."""
    problem, rank = local.problem, local.directions.shape[0]
    damped = dots(local.directions, local.directions).to(torch.float64).sum() * local.damping.to(torch.float64)
    weights = unflatten(local.theta, problem.network.weights())
    base = traces(problem, weights, _witnesses(problem, seed), problem.training().value).mean()
    return torch.stack([local.n_beta, local.damping.to(torch.float64), base, (rank - damped) / (2 * local.n_beta)])


def _witnesses(problem: Problem, seed: bytes) -> Records:
    """The anchor records whose loss is traced."""
    return problem.anchor.select(Stream(seed, "bayesian/witnesses").permutation(len(problem.anchor))[:_WITNESSES])
