"""The dispatch mode. It sits below autograd and below torch.func, so it meets the plain aten calls of every pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode_stack

from validator.exact.errors import ExactError, UnsupportedOp
from validator.exact.table import Kind, table, why_refused

_WORKING = frozenset(
    (torch.float32, torch.float64, torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
)
_PLAIN = frozenset((torch.Tensor, torch.nn.Parameter, torch.nn.Buffer))


class exact(TorchDispatchMode):  # type: ignore[no-untyped-call]  # noqa: N801  (a verb: with exact(): ...)
    """Give a supported torch computation the same bits on any IEEE-754 device.

    Inside `with exact():`, forward and backward, also under torch.func, every operator is looked up in one table
    (table.py) and either runs as it is, runs by an exact rule, or raises UnsupportedOp. float32 and float64 only:
    upcast half-precision models. Entering again inside is free and changes nothing.

    Three or more gradients meeting in one tensor are added by autograd in the order of its graph, which on one graph is
    fixed: build the graph the same way everywhere. Arithmetic on Python floats is not seen here.

    Raises UnsupportedOp, NonFinite; ExactError on entering with denormals flushed or while torch.compile is tracing.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._rules = table()
        self._inner: list[bool] = []

    def __enter__(self) -> Self:
        _check_surroundings()
        inner = any(isinstance(mode, exact) for mode in _get_current_dispatch_mode_stack())
        self._inner.append(inner)
        if not inner:
            super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._inner.pop():
            super().__exit__(kind, error, trace)  # type: ignore[no-untyped-call]

    def __torch_dispatch__(
        self, func: OpOverload, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> object:
        """Run one operator by its rule, or refuse it."""
        rule = self._rules.get(func)
        if rule is None or not _PLAIN.issuperset(types):
            raise _refusal(func, types)
        if rule.kind is not Kind.VIEW:
            _check_dtypes(func, args)
        if rule.kind is Kind.COMPOSITE:
            with self:
                return rule.run(*args, **(kwargs or {}))
        return rule.run(*args, **kwargs) if kwargs else rule.run(*args)


def _check_dtypes(func: OpOverload, args: Sequence[Any]) -> None:
    if func is torch.ops.aten._to_copy.default:
        return
    for argument in args:
        if isinstance(argument, Tensor) and argument.dtype not in _WORKING:
            raise UnsupportedOp(_name(func), f"{argument.dtype} has no exact rule; convert to float32 first")


def _name(func: OpOverload) -> str:
    return f"{func.namespace}.{func.overloadpacket.__name__}"


def _refusal(func: OpOverload, types: Sequence[type]) -> UnsupportedOp:
    if strangers := set(types) - _PLAIN:
        names = ", ".join(sorted(t.__name__ for t in strangers))
        return UnsupportedOp(_name(func), f"it was called on {names}; pass plain tensors and do not compile")
    return UnsupportedOp(_name(func), why_refused(func))


def _check_surroundings() -> None:
    if torch.compiler.is_compiling():
        raise ExactError("exact() cannot be entered inside torch.compile: compilers fuse and reorder operations")
    if torch.tensor(1e-40).mul_(2.0).item() == 0.0:
        raise ExactError("denormal numbers are flushed to zero here; call torch.set_flush_denormal(False)")
