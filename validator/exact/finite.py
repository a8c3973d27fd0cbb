"""NaN must not turn into a number unseen.

Elementwise operators hand NaN and infinity on, as IEEE 754 has it; products and sums refuse both. What remains are
operators whose result no longer shows a NaN: an order, an index, a sign, a truth value, a number for Python. As an
ordered comparison signals on NaN in IEEE 754, so these raise NonFinite; == and != are quiet there and here. Infinity is
an ordinary end of the order (masks of -inf work) and is refused only where it would leave as a Python number.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor
from torch._ops import OpOverload

from validator.exact.errors import NonFinite
from validator.exact.rules.table import Rule, table

_ORDERED = """
    lt le gt ge argmax argmin fmax fmin sort topk sign sgn logical_and logical_or logical_not logical_xor any all
    nonzero threshold_backward hardtanh_backward leaky_relu_backward
"""
"""Operators that would lose a NaN, with their in-place forms."""
_INDEXED = frozenset(("max.dim", "min.dim"))
"""Overloads that would hide it in an index; the other forms of max and min hand it on."""


@functools.cache
def guarded_table() -> Mapping[OpOverload, Rule]:
    """The table, with rules that refuse NaN where it would be lost. The other rules are untouched and pay nothing."""
    ordered = frozenset(_ORDERED.split())
    return {op: _guarded(op, rule, ordered) for op, rule in table().items()}


def _guarded(op: OpOverload, rule: Rule, ordered: frozenset[str]) -> Rule:
    packet = op.overloadpacket.__name__
    if packet.rstrip("_") in ordered or f"{packet}.{op._overloadname}" in _INDEXED:
        return dataclasses.replace(rule, run=_ordered(f"aten.{packet}", rule.run))
    if packet == "_local_scalar_dense":
        return dataclasses.replace(rule, run=_leaving(rule.run))
    return rule


def _ordered(op: str, run: Callable[..., Any]) -> Callable[..., Any]:
    def checked(*args: object, **kwargs: object) -> object:
        for argument in args:
            if isinstance(argument, Tensor) and argument.dtype.is_floating_point:
                refuse_nan(argument, op)
        return run(*args, **kwargs)

    return checked


def refuse_nan(x: Tensor, op: str) -> None:
    """Raise NonFinite if `x` holds NaN."""
    # The sum costs an eighth of a comparison and is NaN if an element is; of infinities and overflow too, hence twice.
    if math.isnan(x.sum().item()) and x.isnan().any().item():
        raise NonFinite(op, "NaN has no order; lower the learning rate or check the data")


def _leaving(run: Callable[[Tensor], Any]) -> Callable[[Tensor], Any]:
    def checked(x: Tensor) -> object:
        value = run(x)
        if isinstance(value, float) and not math.isfinite(value):
            raise NonFinite("aten._local_scalar_dense", f"{value} would leave as a Python number")
        return value

    return checked
