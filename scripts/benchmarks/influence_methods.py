"""What is compared: every method with the settings that it runs at, and nothing about how it runs.

Settings are those that the methods' own documentation or benchmarks recommend; where a grid was searched on the digits
task to be fair to a peer, the note says so.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

OURS, YARDSTICK = "ours", "yardstick"


@dataclass(frozen=True, slots=True)
class Entry:
    """One row: `of` is OURS, YARDSTICK or a peer's name; `method` and `params` are its runner's. `mean`: it estimates
    the mean objective only, so no number per query. `errors`: it predicts expected error, not cross-entropy.
    """

    name: str
    of: str
    method: str
    params: dict[str, Any] = field(default_factory=dict)
    mean: bool = False
    errors: bool = False
    note: str = ""

    @property
    def script(self) -> str:
        """The runner, relative to this folder."""
        own = {OURS: "influence_ours.py", YARDSTICK: "influence_yardsticks.py"}
        return own.get(self.of, f"peers/run_{self.of}.py")


def estimator(name: str, **params: Any) -> Entry:  # noqa: ANN401 - whatever the estimator takes
    """One of our own, per query, in plain words: `classical`, or `mirrored, proximal=0`."""
    words = ", ".join([name, *(f"{key}={value}" for key, value in params.items())])
    return Entry(words, OURS, "ours", {"estimator": name, "per_query": True, **params})


def mean_of(name: str, objective: str = "cross_entropy", **params: Any) -> Entry:  # noqa: ANN401 - as above
    """The same for the mean objective: what pays."""
    words = ", ".join([name, f"mean {objective.replace('_', ' ')}", *(f"{k}={v}" for k, v in params.items())])
    given = {"estimator": name, "per_query": False, "objective": objective, **params}
    return Entry(words, OURS, "ours", given, mean=True, errors=objective == "expected_error")


OWN = (
    estimator("classical"),
    estimator("ekfac"),
    estimator("mirrored"),
    estimator("mirrored", proximal=0, steps=1),
    estimator("bayesian"),
    mean_of("classical"),
    mean_of("classical", folds=1),
    mean_of("ekfac"),
    mean_of("mirrored"),
    mean_of("bayesian"),
    mean_of("classical", "expected_error"),
    mean_of("bayesian", "expected_error"),
)

YARDSTICKS = (
    *(
        Entry(f"dense GGN influence, damping {damping:g}", YARDSTICK, "dense", {"damping": damping})
        for damping in (0.001, 0.003, 0.01, 0.03)
    ),
    Entry("gradient product", YARDSTICK, "gradient product"),
)

_BIF = {
    "lr": 1e-3,
    "n_beta": 300,
    "localization": 30,
    "num_chains": 8,
    "num_draws": 250,
    "num_burnin_steps": 250,
    "num_steps_bw_draws": 5,
    "batch_size": 100,
    "covariance": True,
    "decay": True,
}
_TRAK = {"proj_dim": 512, "proj_max_batch_size": 32, "proj_seed": 0, "device": "cpu"}

PEERS = (
    Entry("dattri CG, 10 iterations, damping 0.01", "dattri", "cg", {"max_iter": 10, "regularization": 0.01}),
    Entry(
        "dattri CG, the same by 20 queries",
        "dattri",
        "cg",
        {"max_iter": 10, "regularization": 0.01, "queries_at_once": 20},
    ),
    Entry(
        "dattri LiSSA, depth 100, damping 0.01, by 20 queries",
        "dattri",
        "lissa",
        {"recursion_depth": 100, "batch_size": 100, "scaling": 50, "damping": 0.01, "queries_at_once": 20},
    ),
    Entry("dattri TRAK-1, 512 dimensions", "dattri", "trak", _TRAK),
    Entry("dattri TracIn, last checkpoint", "dattri", "tracin"),
    Entry("kronfluence EK-FAC, heuristic damping", "kronfluence", "strategy"),
    Entry("kronfluence EK-FAC, damping 0.001", "kronfluence", "strategy", {"damping": 0.001}),
    Entry("devinterp BIF, defaults", "devinterp", "bif", {"lr": 1e-3, "n_beta": 30}),
    Entry("devinterp BIF, n beta 300, gamma 30", "devinterp", "bif", _BIF, note="rate and thinning tuned on digits"),
    Entry("traker TRAK-1, 512 dimensions", "traker", "trak"),
    Entry("traker TRAK-10, 512 dimensions", "traker", "trak", {"models": 10}, note="fit trains 10 networks"),
    Entry("captum Arnoldi, defaults", "captum", "arnoldi"),
    Entry("captum TracInCP, last checkpoint", "captum", "tracin"),
)

ALL = OWN + YARDSTICKS + PEERS
