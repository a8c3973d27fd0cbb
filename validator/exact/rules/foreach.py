"""Operators on lists of tensors, as optimizers and gradient clipping call them: the rule of one tensor, one by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from validator.exact.errors import UnsupportedOp
from validator.exact.rules.elementwise import convert

_SINGLE: Mapping[str, str] = {
    **{
        f"_foreach_{name}.{form}": f"{name}.{'Scalar' if form.startswith('Scalar') else 'Tensor'}"
        for name in ("add", "sub", "mul", "div")
        for form in ("Scalar", "ScalarList", "List", "Tensor")
    },
    **{
        f"_foreach_{name}.{form}": f"{name}.default"
        for name in ("addcmul", "addcdiv", "clamp_min", "clamp_max")
        for form in ("Scalar", "ScalarList")
    },
    "_foreach_lerp.Scalar": "lerp.Scalar",
    "_foreach_lerp.ScalarList": "lerp.Scalar",
    "_foreach_lerp.List": "lerp.Tensor",
    "_foreach_maximum.List": "maximum.default",
    "_foreach_minimum.List": "minimum.default",
    "_foreach_pow.Scalar": "pow.Tensor_Scalar",
    "_foreach_pow.ScalarList": "pow.Tensor_Scalar",
    "_foreach_pow.ScalarAndTensor": "pow.Scalar",
    **{f"_foreach_{name}.default": f"{name}.default" for name in ("sqrt", "rsqrt", "exp", "neg", "abs", "reciprocal")},
    "_foreach_norm.Scalar": "linalg_vector_norm.default",
}
"""Operator on lists: the operator on one tensor."""

_FLOATS = (torch.float32, torch.float64)


def foreach(named: Mapping[str, Callable[..., Any]]) -> dict[str, Callable[..., Any]]:
    """Rules for the lists, from the rules for single tensors, by aten name; with the in-place forms."""
    rules: dict[str, Callable[..., Any]] = {
        name: _one_by_one(f"aten.{name.split('.')[0]}", _adapted(single, named[single]))
        for name, single in _SINGLE.items()
    }
    rules["_foreach_copy.default"] = _copied
    rules["_foreach_zero.default"] = _zeros
    return rules | {name.replace(".", "_.", 1): _in_place(run) for name, run in rules.items()}


def _adapted(name: str, run: Callable[..., Any]) -> Callable[..., Any]:
    """Lists take by position what a single tensor takes by name."""
    if name in ("addcmul.default", "addcdiv.default"):
        return lambda x, a, b, value=1: run(x, a, b, value=value)
    if name == "linalg_vector_norm.default":
        return lambda x, order=2, dtype=None: run(x, order, None, False, dtype=dtype)
    return run


def _one_by_one(op: str, run: Callable[..., Tensor]) -> Callable[..., list[Tensor]]:
    def each(*args: object, **kwargs: object) -> list[Tensor]:
        lists = [a for a in args if isinstance(a, list | tuple)]
        if any(isinstance(t, Tensor) and t.dtype not in _FLOATS for items in lists for t in items):
            raise UnsupportedOp(op, "lists of float32 or float64 tensors have an exact rule, others have not")
        rows = [[a[i] if isinstance(a, list | tuple) else a for a in args] for i in range(len(lists[0]))]
        return [run(*row, **kwargs) for row in rows]

    return each


def _copied(tensors: Sequence[Tensor], sources: Sequence[Tensor], non_blocking: bool = False) -> list[Tensor]:
    return [convert(source, dtype=t.dtype, device=t.device) for t, source in zip(tensors, sources, strict=True)]


def _zeros(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [torch.zeros_like(t) for t in tensors]


def _in_place(run: Callable[..., list[Tensor]]) -> Callable[..., None]:
    def write(tensors: list[Tensor], *args: object, **kwargs: object) -> None:
        for target, result in zip(tensors, run(tensors, *args, **kwargs), strict=True):
            target.copy_(result)

    return write
