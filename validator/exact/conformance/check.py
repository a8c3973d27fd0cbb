"""The self-test of a machine: a pure question about one device, answered with a report."""

from __future__ import annotations

import functools
import platform
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import metadata
from typing import cast

import numpy as np
import torch

from validator.exact import VERSION, kernels
from validator.exact.conformance import parity
from validator.exact.conformance.elementary import ELEMENTARY
from validator.exact.conformance.golden import Computation, computations, read_golden
from validator.exact.conformance.matrices import MATRICES
from validator.exact.conformance.report import Fact, Fault, Group, Report
from validator.exact.digest import Values, digest
from validator.exact.errors import ExactError

Check = tuple[str, Callable[[], Fault | None]]


def self_test(
    device: torch.device | str = "cpu", *, quick: bool = False, golden: Mapping[str, str] | None = None
) -> Report:
    """Whether `device` computes what the protocol fixes.

    `quick` leaves out most golden digests and comparisons of kernels, but none of the facts about single operations.
    `golden`: digests in hex by name, by default those of this package. torch's thread count is changed for a moment.
    Raises ExactError if there is no such device.
    """
    place = _device(device)
    known = read_golden() if golden is None else golden
    named = {"single operations": ELEMENTARY, "matrix products": MATRICES}
    with warnings.catch_warnings():  # torch's words about speed are no news here
        warnings.simplefilter("ignore")
        groups = [_group(name, _facts(facts, place)) for name, facts in named.items()]
        groups.append(_kernels(place, quick))
        groups += _golden(place, quick, known)
    return Report(VERSION, _device_name(place), _machine(), tuple(groups))


def _device(device: torch.device | str) -> torch.device:
    try:
        place = torch.device(device)
        torch.zeros(1, device=place).add_(1.0).item()
    except (RuntimeError, AssertionError) as error:
        raise ExactError(f"torch {torch.__version__} cannot use the device {device}: {_line(error)}") from None
    return place


def _kernels(place: torch.device, quick: bool) -> Group:
    if why := parity.unavailable(place):
        return Group("fused kernels", 0, (), (f"none: {why}; the eager code runs",), 0.0)
    return _group("fused kernels", _facts(parity.parity(quick), place))


def _golden(place: torch.device, quick: bool, known: Mapping[str, str]) -> Iterator[Group]:
    kinds: dict[str, list[Computation]] = {}
    for each in computations():
        if each.quick or not quick:
            kinds.setdefault("digests" if quick else each.kind, []).append(each)
    for kind, members in kinds.items():
        missing = [f"{each.name}: not in this torch (torch.{each.missing})" for each in members if each.missing]
        checks = ((each.name, functools.partial(_matches, each, place, known)) for each in members if not each.missing)
        yield _group(f"golden {kind}", checks, missing)


def _facts(facts: Iterable[Fact], place: torch.device) -> Iterator[Check]:
    return ((fact.name, functools.partial(_holds, fact, place)) for fact in facts)


def _holds(fact: Fact, place: torch.device) -> Fault | None:
    found = fact.check(place)
    return Fault(fact.name, found, fact.cure) if found else None


def _group(name: str, checks: Iterable[Check], notes: Iterable[str] = ()) -> Group:
    begun, count, faults = time.perf_counter(), 0, []
    for title, check in checks:
        count += 1
        try:
            fault = check()
        except Exception as error:  # noqa: BLE001 - whatever stops a check is what the report is there to say
            cure = "this torch or this device lacks something; use a release that the documentation names"
            fault = Fault(title, f"stopped by {type(error).__name__}: {_line(error)}", cure)
        if fault is not None:
            faults.append(fault)
    return Group(name, count, tuple(faults), tuple(notes), round(time.perf_counter() - begun, 3))


def _matches(each: Computation, place: torch.device, known: Mapping[str, str]) -> Fault | None:
    values = each.run(place)
    found, expected = digest(values).hex(), known.get(each.name)
    if found == expected:
        return None
    if expected is None:
        return Fault(each.name, "the golden file has no digest for it", "the golden file is not of this code")
    return _culprit(each, values, found, expected)


def _culprit(each: Computation, values: Values, found: str, expected: str) -> Fault:
    """What differs from the eager code on the CPU, if that has the golden digest; else who can be blamed at all."""
    with kernels.reference():
        reference = each.run(torch.device("cpu"))
    if digest(reference).hex() == expected:
        where = _where(values, reference) or "its structure"
        return Fault(
            each.name, f"{where}; the eager code on the CPU is right", "score on the CPU, without numba if need be"
        )
    return Fault(
        each.name,
        f"digest {found[:16]}, expected {expected[:16]}; the eager code on the CPU: {digest(reference).hex()[:16]}",
        f"torch {torch.__version__} takes this computation apart in another way, or files of this package were changed",
    )


def _where(ours: Values, theirs: Values) -> str | None:
    """The first element that differs, in words, by the names of the values."""
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        found = ((key, _where(ours[key], theirs[key])) for key in theirs)
        return next((f"{key}: {words}" for key, words in found if words), None)
    if isinstance(ours, torch.Tensor) and isinstance(theirs, torch.Tensor):
        return parity.first_difference([ours], [theirs])
    return parity.first_difference(cast(list[torch.Tensor], ours), cast(list[torch.Tensor], theirs))


def _device_name(place: torch.device) -> str:
    return f"{place} ({torch.cuda.get_device_name(place)})" if place.type == "cuda" else str(place)


def _machine() -> dict[str, str]:
    """What decides about bits, as far as this process can tell."""
    return {
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "numba": _release("numba"),
        "cuda": str(torch.version.cuda or "none"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": str(torch.get_num_threads()),
    }


def _release(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "none"


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
