"""One door to all estimators: fit a referee or a probe set, and read one back."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from validator.exact import NonFinite, exact
from validator.influence.bayesian import BayesianSettings, fit_bayesian, load_bayesian
from validator.influence.classical import Classical, ClassicalSettings, EkfacSettings
from validator.influence.curvature import directions_at_once, unflatten
from validator.influence.engine import IN_PROCESS, Engine, cut
from validator.influence.errors import InfluenceError
from validator.influence.folds import Folds, deal
from validator.influence.mirrored import Mirrored, MirroredSettings
from validator.influence.models import Kinds, load_tensors, read_tensors
from validator.influence.probes import Probes
from validator.influence.problem import Problem
from validator.influence.response import Progress, Response, fit_response, load_response
from validator.influence.settings import VERSION, Seed, Settings, make_settings, read_header, seed_bytes
from validator.influence.training import ResponseSettings

_SETTINGS: dict[str, type[Settings]] = {
    "response": ResponseSettings,
    "classical": ClassicalSettings,
    "mirrored": MirroredSettings,
    "ekfac": EkfacSettings,
    "bayesian": BayesianSettings,
}
_BLOCK = 16


def fit(
    problem: Problem,
    estimator: str = "response",
    *,
    seed: Seed,
    per_query: bool = False,
    progress: Progress | None = None,
    parts: MutableMapping[str, bytes] | None = None,
    engine: Engine = IN_PROCESS,
    **params: int | float,
) -> Response | Probes:
    """Fit `estimator` (response, classical, ekfac, mirrored or bayesian) to `problem`; `params` are the fields
    of its settings class.

    `seed` is bytes or a non-negative integer. `progress(done, total)` is called as parts are finished. A `parts`
    mapping receives each finished part; pass the same mapping again, with the same arguments, to go on after an
    interruption: the result has the same bits, and so it has on every `engine`. Raises InfluenceError on an unknown
    estimator, an unknown parameter or one out of range.
    """
    settings, key = estimator_settings(estimator, params), seed_bytes(seed)
    report: Progress = progress if progress is not None else _silent
    store: MutableMapping[str, bytes] = parts if parts is not None else {}
    if isinstance(settings, ResponseSettings):
        return fit_response(problem, settings, key, per_query, report, store, engine)
    if isinstance(settings, BayesianSettings):
        return fit_bayesian(problem, settings, key, per_query, report, store, engine)
    return _fit_probes(problem, estimator, settings, key, per_query, report, store, engine)


def load_probes(problem: Problem, data: bytes, engine: Engine = IN_PROCESS) -> Response | Probes:
    """Read what `to_bytes` wrote; what is trained again for it, on `engine`. Raises InfluenceError when the bytes are
    damaged, of another version, or fitted to another problem.
    """
    tensors = read_tensors(data)
    if "header" not in tensors:
        raise InfluenceError("the probe file has no header")
    header = read_header(tensors["header"])
    if header["version"] != VERSION:
        raise InfluenceError(f"the probe file is of influence version {header['version']}, this is version {VERSION}")
    if header["problem"] != problem.digest():
        raise InfluenceError("the probe file was fitted to another model, anchor, query set or objective")
    settings = estimator_settings(header["estimator"], header["params"])
    per_query, seed = header["per_query"], seed_bytes(header["seed"])
    expected: Kinds = {"header": (torch.uint8, tuple(tensors["header"].shape))}
    if isinstance(settings, ResponseSettings):
        expected["baseline"] = (torch.float32, (settings.replicas, len(problem.queries)))
        return load_response(problem, settings, seed, per_query, load_tensors(data, expected)["baseline"], engine)
    if isinstance(settings, BayesianSettings):
        return load_bayesian(problem, settings, seed, per_query, tensors["header"], data)
    folds = _folds(problem, settings, per_query)
    count = 2 * len(folds)
    expected |= {
        "coefficients": (torch.float64, (count,)),
        "columns": (torch.int64, (count,)),
        "sizes": (torch.int64, (len(folds),)),
    }
    weights = problem.network.weights()
    expected |= {f"probe/{name}": (w.dtype, (count, *w.shape)) for name, w in weights.items()}
    found = load_tensors(data, expected)
    if not torch.equal(found["columns"], _columns(len(folds))) or not torch.equal(found["sizes"], folds.sizes()):
        raise InfluenceError("the probe file deals the queries in another way than its parameters say")
    probes = {name: found[f"probe/{name}"] for name in weights}
    return Probes(
        problem,
        header["estimator"],
        settings,
        seed,
        per_query,
        probes,
        found["coefficients"],
        found["columns"],
        found["sizes"],
    )


def estimator_settings(estimator: str, params: dict[str, Any]) -> Settings:
    """The checked parameters of an estimator by its name. Raises InfluenceError on an unknown or wrong one."""
    if estimator not in _SETTINGS:
        raise InfluenceError(f"no estimator is called {estimator!r}; there are {', '.join(_SETTINGS)}")
    settings: Settings = make_settings(_SETTINGS[estimator], params)
    return settings


def _fit_probes(
    problem: Problem,
    estimator: str,
    settings: Settings,
    seed: bytes,
    per_query: bool,
    progress: Progress,
    parts: MutableMapping[str, bytes],
    engine: Engine,
) -> Probes:
    folds, theta = _folds(problem, settings, per_query), problem.network.weights()
    size, fitting = sum(w.numel() for w in theta.values()), Fitting(problem, settings, seed)
    flats, coefficients = [], []
    for start in range(0, len(folds), _BLOCK):
        key, block = f"columns-{start}", folds.between(start, start + _BLOCK)
        if key not in parts:
            slices = [block.between(few.start, few.stop) for few in cut(len(block), engine.width)]
            flat, weight = _ordered(engine.map(fold_probes, (fitting,), slices))
            parts[key] = bytes(save({"flat": flat.contiguous(), "coefficients": weight.contiguous()}))
        part = _part(parts[key], 2 * len(block), size)
        flats.append(part["flat"])
        coefficients.append(part["coefficients"])
        progress(min(start + _BLOCK, len(folds)), len(folds))
    weights = unflatten(torch.cat(flats), theta)
    return Probes(
        problem,
        estimator,
        settings,
        seed,
        per_query,
        weights,
        torch.cat(coefficients),
        _columns(len(folds)),
        folds.sizes(),
    )


Fitter = Callable[[Folds], tuple[Tensor, Tensor]]
"""From some of the folds to their probes (2 folds, parameters), ascending ones first, and coefficients float64."""


class Fitting:
    """What every fold shares, prepared where it is first needed and kept there."""

    def __init__(self, problem: Problem, settings: Settings, seed: bytes) -> None:
        self._problem, self._settings, self._seed = problem, settings, seed
        self._fitter: Fitter | None = None
        self._together = 0

    def fitter(self) -> Fitter:
        """What the estimator prepares once for all folds; to be called under exact()."""
        self._fitter = self._fitter or _fitter(self._problem, self._settings, self._seed)
        return self._fitter

    def together(self) -> int:
        """How many folds to fit at once here: no fold meets another, so the number changes no bit. To be called outside
        exact().
        """
        rows = getattr(self._settings, "rows", None)
        if not self._together:
            self._together = _BLOCK if rows is None else directions_at_once(self._problem, rows, _BLOCK)
        return self._together


def fold_probes(fitting: Fitting, folds: Folds) -> tuple[Tensor, Tensor]:
    """Task: the probes and coefficients of some folds, in the order of a Fitter."""
    together = fitting.together()
    starts = range(0, len(folds), together)
    try:
        with exact(), torch.no_grad():
            return _ordered([fitting.fitter()(folds.between(start, start + together)) for start in starts])
    except NonFinite as error:
        raise InfluenceError(f"the fit leaves the finite range, take another step or damping: {error}") from error


def _ordered(found: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Each piece holds its ascending probes, then its descending ones; so does the whole."""
    ends = [half.chunk(2)[end] for end in (0, 1) for half, _ in found]
    weights = [half.chunk(2)[end] for end in (0, 1) for _, half in found]
    return torch.cat(ends), torch.cat(weights)


def _fitter(problem: Problem, settings: Settings, seed: bytes) -> Fitter:
    """What an estimator prepares once for all folds."""
    if isinstance(settings, ClassicalSettings | EkfacSettings):
        return Classical(problem, settings, seed).probes
    if isinstance(settings, MirroredSettings):
        return Mirrored(problem, settings, seed).probes
    raise InfluenceError(f"internal error: {type(settings).__name__} fits no probes")


def _folds(problem: Problem, settings: Settings, per_query: bool) -> Folds:
    queries = len(problem.queries)
    if per_query:
        return deal(queries, queries)
    assert isinstance(settings, ClassicalSettings | EkfacSettings | MirroredSettings)
    return deal(queries, settings.folds)


def _columns(folds: int) -> Tensor:
    """Column of each probe, int64 (2 folds,): a block's ascending probes, then its descending ones."""
    blocks = [torch.arange(start, min(start + _BLOCK, folds)) for start in range(0, folds, _BLOCK)]
    return torch.cat([torch.cat([block, block]) for block in blocks])


def _part(data: bytes, probes: int, size: int) -> dict[str, Tensor]:
    return load_tensors(data, {"flat": (torch.float32, (probes, size)), "coefficients": (torch.float64, (probes,))})


def _silent(done: int, total: int) -> None:
    """Progress that nobody watches."""
