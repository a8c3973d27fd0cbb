"""Conformance: what exact() computes, as a list of small cases with the digests that every machine must find.

`validator exact self-test`, or `python -m validator.exact.conformance` where there is only torch and NumPy, certifies a
machine: what single operations must do (elementary.py, matrices.py), fused kernels against the eager code (parity.py),
and the golden digests (golden.py, golden.json). The tests walk the same cases.
"""

from __future__ import annotations

from validator.exact.conformance.case import Case
from validator.exact.conformance.coverage import COVERAGE
from validator.exact.conformance.joined import joined
from validator.exact.conformance.pointwise import pointwise
from validator.exact.conformance.spatial import spatial


def families() -> dict[str, list[Case]]:
    """The cases by kind. Names are unique among all of them: the golden file knows a case by its name."""
    return {"pointwise": pointwise(), "joined": joined(), "spatial": spatial(), "coverage": list(COVERAGE)}


def cases() -> list[Case]:
    """Every case."""
    return [case for family in families().values() for case in family]
