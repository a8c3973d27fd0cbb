"""The one place where a kernel takes the place of the eager code that defines it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from validator.exact import kernels

F = TypeVar("F", bound=Callable[..., Any])


def fused(path: str, dtype: torch.dtype | None = None) -> Callable[[F], F]:
    """Let the kernel at `path` ("module.function" in validator/exact/kernels) run in place of the decorated function.

    It takes the same arguments and returns the same bits, or None where the eager code must run. `dtype`
    limits it to tensors of one dtype. The eager code stays at hand as `__wrapped__`, the path as `kernel`.
    """

    def decorate(reference: F) -> F:
        @functools.wraps(reference)
        def run(*args: object, **kwargs: object) -> object:
            tensors = [a for a in args if isinstance(a, Tensor)]
            if kwargs:
                tensors += [a for a in kwargs.values() if isinstance(a, Tensor)]
            right = dtype is None or all([t.dtype == dtype for t in tensors])  # noqa: C419 - a generator costs more
            kernel = kernels.find(path, *tensors) if right else None
            result = None if kernel is None else kernel(*args, **kwargs)
            return reference(*args, **kwargs) if result is None else result

        run.__dict__["kernel"] = path
        return cast(F, run)

    return decorate


def kernel_of(function: Callable[..., Any]) -> str | None:
    """The path that `fused` was given, if the function has a kernel."""
    path = getattr(function, "kernel", None)
    return path if isinstance(path, str) else None
