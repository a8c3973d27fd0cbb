"""What is a record worth to a model? Estimators of influence whose bits are the same on every machine.

problem = Problem(model, anchor, queries)
scores = fit(problem, estimator="response", seed=round_seed).score(records, groups=contribution_ids)
"""

from __future__ import annotations

from validator.influence.errors import InfluenceError
from validator.influence.fit import fit, load_probes
from validator.influence.problem import Problem
from validator.influence.records import Records
from validator.influence.scores import Scores
from validator.influence.settings import VERSION

__all__ = ["VERSION", "InfluenceError", "Problem", "Records", "Scores", "fit", "load_probes"]
