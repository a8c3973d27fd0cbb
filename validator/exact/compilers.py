"""Code that was compiled or recorded earlier, called inside exact(): refused, wherever it comes from.

Under a dispatch mode torch's compiler compiles nothing. But what it compiled before may run from its cache, and so may
the backward of a graph that was compiled outside, a kernel that TorchScript fused, a CUDA graph or a package of
AOTInductor, all without one operator reaching the mode. Each passes through a few functions of torch, which are wrapped
here once in a process. In a thread outside exact() the wrappers do nothing.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import torch
from torch import nn

from validator.exact.callers import innermost_module, where
from validator.exact.errors import ExactError


class Refusing(Protocol):
    """What is told of compiled code."""

    def refuse(self, error: ExactError) -> None:
        """Raise `error` from the next operator on."""


Active = Callable[[], Refusing | None]
"""Gives the exact() of this thread, or None outside."""
Wrap = Callable[[Callable[..., Any], Active], Callable[..., Any]]


@functools.cache
def watch_compilers(active: Active) -> None:
    """Make compiled code ask `active()` before it runs. Raises ExactError where this version of torch hides it.

    Loads torch's compiler, as torch.func and every optimizer do on their first call: about a second, once. It must not
    be loaded later, inside exact(), since in some versions it calls operators while it loads.
    """
    for owner, name, wrap in _entrances():
        original = getattr(owner, name, None)
        if original is None:
            raise ExactError(f"torch {torch.__version__} has no {owner}.{name}: compiled code could run here unseen")
        setattr(owner, name, functools.wraps(original)(wrap(original, active)))


def _entrances() -> Iterator[tuple[Any, str, Wrap]]:
    yield importlib.import_module("torch._dynamo.eval_frame"), "_callback_from_stance", _at_call
    graphs = importlib.import_module("torch._functorch._aot_autograd.runtime_wrappers")
    yield graphs, "call_func_at_runtime_with_args", _at_run("a graph of torch.compile")
    yield torch._C.ScriptFunction, "__call__", _at_run("TorchScript")
    yield torch._C.ScriptMethod, "__call__", _at_run("TorchScript")
    yield torch.cuda.CUDAGraph, "replay", _at_run("a CUDA graph")
    for runner in (getattr(torch._C._aoti, name) for name in dir(torch._C._aoti) if name.startswith("AOTIModel")):
        yield runner, "run", _at_run("a package of AOTInductor")


def _at_call(original: Callable[..., Any], active: Active) -> Callable[..., Any]:
    """Around the choice of a frame evaluator, made at every call of a compiled function; None means plain Python."""

    def choose(callback: object) -> object:
        mode = None if callback is None else active()
        if mode is None:
            return original(callback)
        # An error raised here would leave settings that the caller has just changed; one raised by the function's
        # first operator lets it clean up.
        mode.refuse(_error(f"torch.compile'd {_name(sys._getframe(1).f_locals.get('fn'))}"))
        return None

    return choose


def _at_run(what: str) -> Wrap:
    """Around the run of something in which operators can no longer be told apart."""

    def wrap(original: Callable[..., Any], active: Active) -> Callable[..., Any]:
        def run(*args: object, **kwargs: object) -> object:
            if active() is not None:
                error = _error(what)
                error.where = where()
                raise error
            return original(*args, **kwargs)

        return run

    return wrap


def _error(what: str) -> ExactError:
    return ExactError(f"{what} is refused under exact(): its operators may have been fused; call the Python original")


def _name(function: object) -> str:
    owner = getattr(function, "__self__", None) or getattr(innermost_module(), "_orig_mod", None)
    return type(owner).__name__ if isinstance(owner, nn.Module) else getattr(function, "__qualname__", "code")
