"""Our own estimators in a process of their own: whatever `validator.influence.fit` knows, by name and parameters."""

from __future__ import annotations

from typing import Any

from influence_worker import Given, Score, main
from torch import Tensor

from validator.influence import Problem, Records, fit
from validator.influence.models import build

SEED = b"bench"


def problem(given: Given, objective: str) -> Problem:
    """The task as a problem whose anchor is the whole training set."""
    weights = [w for name, w in given.state.items() if name.endswith("weight")]
    config = {
        "inputs": weights[0].shape[1],
        "hidden": [w.shape[0] for w in weights[:-1]],
        "classes": weights[-1].shape[0],
        "activation": "relu",
    }
    module = build("mlp", config)
    module.load_state_dict(given.state)
    anchor, queries = Records(given.inputs, given.targets), Records(given.query_inputs, given.query_targets)
    return Problem(module, anchor, queries, objective=objective)


def ours(given: Given) -> Score:
    """Fit `estimator` with the other params; `per_query` or the mean `objective`."""
    params: dict[str, Any] = dict(given.params)
    estimator, per_query = params.pop("estimator"), params.pop("per_query", True)
    whole = problem(given, params.pop("objective", "cross_entropy"))
    fitted = fit(whole, estimator, seed=SEED, per_query=per_query, **params)
    records = whole.anchor

    def score() -> Tensor:
        values = fitted.score(records).values
        return values if per_query else values.unsqueeze(1)

    return score


if __name__ == "__main__":
    main({"ours": ours}, warm=ours)
