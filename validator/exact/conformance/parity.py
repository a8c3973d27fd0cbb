"""Fused kernels against the eager code that defines them, bit for bit, on fixed inputs.

Every case is computed both ways, in both precisions. Functions of elements and of rows are computed again on tensors
large enough to be cut among threads, and on the hard numbers of vectors.py: denormals, ties, the ends of the range.
"""

from __future__ import annotations

import functools
from dataclasses import fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from validator.exact import exact, kernels
from validator.exact.conformance import families, vectors
from validator.exact.conformance.case import Case
from validator.exact.conformance.elementary import difference, patterns
from validator.exact.conformance.golden import QUICK
from validator.exact.conformance.report import Fact
from validator.exact.errors import ExactError
from validator.exact.kernels import cuda

_LARGE = {"pointwise": ((129, 260),), "linear": ((130, 700), (96, 700), (96,)), "total": ((300, 1100),)}
"""Shapes that keep several threads busy: those of all pointwise cases, and of some others by name."""
_CURE = (
    "what numba compiles for this processor is at fault: use another release of it, or uninstall it, at a cost of speed"
)


def unavailable(device: torch.device) -> str | None:
    """Why there are no kernels for tensors on this device; None if there are."""
    if device.type == "cpu":
        return None if kernels.available(torch.ones(1)) else "numba is not installed"
    return cuda.unusable(device)


def parity(quick: bool) -> list[Fact]:
    """One fact for each case; with `quick` only for those of the quick golden digests, as they stand."""
    meaning = "the fused kernels give the bits of the eager code"
    return [
        Fact(case.name, meaning, _CURE, functools.partial(_compare, case, () if quick else _more(kind, case)))
        for kind, family in families().items()
        for case in family
        if not case.missing() and (case.name in QUICK or not quick)
    ]


def _more(kind: str, case: Case) -> tuple[Case, ...]:
    """The case again with larger inputs, and with hard ones where any numbers will do."""
    large = _LARGE.get(kind, _LARGE.get(case.name))
    hard = (_Hard(**_fields(case)),) if kind == "pointwise" else ()
    return (*((replace(case, shapes=large),) if large else ()), *hard)


def _fields(case: Case) -> dict[str, Any]:
    return {field.name: getattr(case, field.name) for field in fields(case)}


class _Hard(Case):
    """A case of one input that meets the operands of vectors.py in place of random numbers."""

    def inputs(self, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> list[Tensor]:
        """(4, 35): both operands of each row, and their negatives."""
        rows = vectors.OPERATIONS_32 if dtype == torch.float32 else vectors.OPERATIONS_64
        kind = "u4" if dtype == torch.float32 else "u8"
        operands = np.array([row[:2] for row in rows], dtype=kind).T.copy().view(kind.replace("u", "f"))
        x = torch.from_numpy(np.concatenate([operands, -operands]))
        return [(x.abs() if self.positive else x).to(device)]


def _compare(case: Case, more: tuple[Case, ...], device: torch.device) -> str | None:
    for each in (case, *more):
        for dtype in (torch.float32, torch.float64):
            inputs = each.inputs(dtype, device)
            fused = _outcome(each, inputs)
            with kernels.reference():
                eager = _outcome(each, inputs)
            if words := first_difference(fused, eager):
                return f"{dtype} {tuple(inputs[0].shape)}, {words}"
    return None


def _outcome(case: Case, inputs: list[Tensor]) -> list[Tensor] | str:
    """What the case gives, or the error it is refused with: both ways must refuse the same."""
    try:
        with exact():
            return case.outcome(inputs)
    except ExactError as error:
        return str(error)


def first_difference(found: list[Tensor] | str, expected: list[Tensor] | str) -> str | None:
    """The first element of an outcome whose bits differ, in words. All NaNs are one."""
    if isinstance(found, str) or isinstance(expected, str):
        return None if found == expected else f"expected {_told(expected)}, got {_told(found)}"
    for i, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
        what = "the result" if i == 0 else f"the gradient of input {i}"
        if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
            return f"{what}: expected {theirs.dtype} {tuple(theirs.shape)}, got {ours.dtype} {tuple(ours.shape)}"
        if words := difference(what, _one_nan(ours), patterns(_one_nan(theirs))):
            return words
    return None


def _told(outcome: list[Tensor] | str) -> str:
    return f"a refusal ({outcome})" if isinstance(outcome, str) else "a result"


def _one_nan(x: Tensor) -> Tensor:
    return torch.where(x.isnan(), torch.full_like(x, float("nan")), x) if x.is_floating_point() else x
