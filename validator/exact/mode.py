"""The dispatch mode. It sits below autograd and below torch.func, so it meets the plain aten calls of every pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode_stack

from validator.exact.callers import where
from validator.exact.compilers import watch_compilers
from validator.exact.errors import ExactError, UnsupportedOp
from validator.exact.finite import guarded_table
from validator.exact.graph import one_graph
from validator.exact.rules.table import Kind, Rule, why_refused
from validator.exact.surroundings import SWITCHES, autocast_depth, check_surroundings, denormals_flushed

_WORKING = frozenset(
    (torch.float32, torch.float64, torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
)
_PLAIN = frozenset((torch.Tensor, torch.nn.Parameter, torch.nn.Buffer))
_STRIDED = torch.strided
_CONVERSION = torch.ops.aten._to_copy.default


class exact(TorchDispatchMode):  # type: ignore[no-untyped-call]  # noqa: N801  (a verb: with exact(): ...)
    """Give a supported torch computation the same bits on any IEEE-754 device.

    Inside `with exact():`, forward and backward, also under torch.func, every operator is looked up in one table
    (table.py) and either runs as it is, runs by an exact rule, or raises UnsupportedOp. float32 and float64 only:
    upcast half-precision models. Entering again inside changes nothing. It holds for the thread that entered and the
    backward passes that it starts. Attention takes its plain form: fused kernels and fast paths are off while any
    thread is inside.

    Three or more gradients meeting in one tensor are added by autograd in the order of its graph, which on one graph is
    fixed: build the graph the same way everywhere. What never reaches torch's dispatcher is not seen: arithmetic on
    Python floats, arrays and lists from `tensor.numpy()` and `tolist()`, C++ extensions and kernels launched by hand,
    and a few old functions of fbgemm that read memory (tests/exact/test_registry.py has them all).

    Raises UnsupportedOp and NonFinite, which say what asked; ExactError on entering with denormals flushed, autocast,
    TF32 or while torch.compile is tracing, and when something compiled or recorded is called inside. TF32 that is
    switched on inside changes nothing: products are of float64.
    """

    supports_higher_order_operators = True
    """torch is to hand over cond, while_loop and their like, so that they too are refused here and not by torch."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._rules: Mapping[OpOverload, Rule] = guarded_table()
        self._inner: list[bool] = []
        self._graph = one_graph()
        self._refused: ExactError | None = None

    def __enter__(self) -> Self:
        check_surroundings()
        inner = _active() is not None
        if not inner:
            watch_compilers(_active)
            SWITCHES.enter()
            self._graph.__enter__()  # type: ignore[no-untyped-call]
            super().__enter__()  # type: ignore[no-untyped-call]
        self._inner.append(inner)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._inner.pop():
            super().__exit__(kind, error, trace)  # type: ignore[no-untyped-call]
            self._graph.__exit__(kind, error, trace)  # type: ignore[no-untyped-call]
            SWITCHES.leave()

    def __torch_dispatch__(
        self, func: OpOverload, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> object:
        """Run one operator by its rule, or refuse it."""
        rule = self._rules.get(func)
        try:
            if rule is None or denormals_flushed() or not _PLAIN.issuperset(types):
                raise self._refusal(func, types)
            if rule.kind is not Kind.VIEW:
                _check_operands(func, args)
            if rule.kind is Kind.COMPOSITE:
                return self._taken_apart(rule, args, kwargs or {})
            return rule.run(*args, **kwargs) if kwargs else rule.run(*args)
        except ExactError as error:
            error.where = error.where or where()
            raise

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Asked by torch when the class is made. True would wrap the method above in a guard against compilers, half a
        microsecond an operator, of which there is no need: compiled code is refused before it could call it.
        """
        return False

    def refuse(self, error: ExactError) -> None:
        """Raise `error` from the next operator on: until then no operator has a rule."""
        self._rules, self._refused = {}, error

    def _taken_apart(self, rule: Rule, args: Sequence[Any], kwargs: Mapping[str, Any]) -> object:
        super().__enter__()  # type: ignore[no-untyped-call]
        try:
            return rule.run(*args, **kwargs)
        finally:
            super().__exit__(None, None, None)  # type: ignore[no-untyped-call]

    def _refusal(self, func: OpOverload, types: Sequence[type]) -> ExactError:
        if error := self._refused:
            self._rules, self._refused = guarded_table(), None
            return error
        if denormals_flushed():
            return ExactError(f"denormal numbers are flushed to zero since exact() was entered, at {_name(func)}")
        if strangers := set(types) - _PLAIN:
            names = ", ".join(sorted(t.__name__ for t in strangers))
            return UnsupportedOp(_name(func), f"it was called on {names}; pass plain tensors and do not compile")
        if not isinstance(func, OpOverload):
            return UnsupportedOp(_name(func), "it runs Python functions; branch and loop in Python instead")
        return UnsupportedOp(_name(func), why_refused(func))


def _active() -> exact | None:
    """The mode that this thread is inside."""
    return next((mode for mode in _get_current_dispatch_mode_stack() if isinstance(mode, exact)), None)


def _check_operands(func: OpOverload, args: Sequence[Any]) -> None:
    for argument in args:
        if isinstance(argument, Tensor):
            if argument.layout is not _STRIDED or argument.is_nested:
                raise UnsupportedOp(_name(func), f"{_form(argument)} tensors have no exact rule; make it dense")
            if argument.dtype not in _WORKING and func is not _CONVERSION:
                raise UnsupportedOp(_name(func), _why_not(argument.dtype))
        elif isinstance(argument, list):
            _check_operands(func, argument)


def _form(x: Tensor) -> str:
    return "nested" if x.is_nested else str(x.layout).removeprefix("torch.")


def _why_not(dtype: torch.dtype) -> str:
    if autocast_depth():
        return f"autocast made an operand {dtype}; leave torch.autocast inside exact()"
    return f"{dtype} has no exact rule; convert to float32 first"


def _name(func: OpOverload) -> str:
    return f"{func.namespace}.{getattr(func, 'overloadpacket', func).__name__}"
