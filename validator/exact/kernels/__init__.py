"""Fused kernels: what the eager code of this package does in many passes, in one. Same bits.

The eager code is the definition and the reference. A kernel computes the same sequence of IEEE operations for each
element, compiled by numba without fast-math, so nothing is contracted or reordered; where it adds, it adds integers.
Two steps are fused only where a kernel asks for it and no result depends on it (build.fused). Tests compare every
kernel with the eager code bit for bit, and the self-test does so on the machine at hand.

Those for CUDA devices are in cuda/, written in Triton. numba and Triton are optional: without them, on other devices,
and inside `reference()`, the eager code runs.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

_reference: ContextVar[bool] = ContextVar("_reference", default=False)
_interpreted: ContextVar[bool] = ContextVar("_interpreted", default=False)
_DTYPES = (torch.float32, torch.float64, torch.int64)


@contextmanager
def reference() -> Iterator[None]:
    """Inside, this thread runs the eager code only."""
    token = _reference.set(True)
    try:
        yield
    finally:
        _reference.reset(token)


@contextmanager
def interpreted() -> Iterator[None]:
    """Inside, tensors on the CPU go to the kernels for CUDA devices, in Triton's interpreter: for tests of those."""
    token = _interpreted.set(True)
    try:
        yield
    finally:
        _interpreted.reset(token)


def find(path: str, *tensors: Tensor) -> Callable[..., Any] | None:
    """The kernel at `path` ("module.function") for one or more tensors; None where the eager code must run."""
    if tensors[0].is_cpu and not _interpreted.get():
        if not available(*tensors):
            return None
        name, function = path.split(".")
        return getattr(module(name), function)  # type: ignore[no-any-return]
    device = tensors[0].device
    plain = all(x.device == device and _plain(x) for x in tensors)
    if _reference.get() or not plain or not tensors[0].is_floating_point():
        return None
    from validator.exact.kernels import cuda

    return cuda.kernel(path, tensors[0].dtype, device)


def available(*tensors: Tensor) -> bool:
    """Whether kernels for the CPU may run on these: numba is installed, and they are on the CPU, none of them empty,
    the first of float32 or float64, the others of these or indices in int64.
    """
    if _reference.get() or not _numba():
        return False
    for x in tensors:  # no generator: this is asked for every operator
        if not x.is_cpu or not _plain(x):
            return False
    return tensors[0].is_floating_point()


def _plain(x: Tensor) -> bool:
    return x.dtype in _DTYPES and x.numel() > 0


@functools.cache
def module(name: str) -> ModuleType:
    """One of the modules beside this; ask `available` first, for they import numba."""
    return importlib.import_module(f"validator.exact.kernels.{name}")


@functools.cache
def _numba() -> bool:
    return importlib.util.find_spec("numba") is not None
