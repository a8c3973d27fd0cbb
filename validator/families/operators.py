"""Operators that an exported program may consist of: pure functions of tensors, by their aten names.

Nothing that writes into an operand, draws random numbers, or looks data up by data (index, gather, scatter): such a
program could fail on one contribution and not on another. Exact arithmetic has the last word on every one of them when
it runs; this list is what a file may name at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch._ops import OpOverload, OpOverloadPacket

from validator.influence import InfluenceError

_POINTWISE = """
abs add bitwise_and bitwise_not bitwise_or ceil clamp clamp_max clamp_min cos div dropout elu eq erf exp expm1 floor ge
gelu gt hardsigmoid hardswish hardtanh le leaky_relu log log1p logical_and logical_not logical_or lt masked_fill maximum
minimum mul ne neg pow reciprocal relu round rsqrt sigmoid sign silu sin softplus sqrt square sub tanh where
"""
_REDUCTIONS = """
_log_softmax _softmax adaptive_avg_pool2d amax amin avg_pool2d batch_norm cumsum group_norm layer_norm log_softmax
logsumexp max_pool2d mean native_group_norm native_layer_norm rms_norm softmax sum var
"""
_PRODUCTS = """
addmm baddbmm bmm conv1d conv2d einsum embedding linear matmul mm mv scaled_dot_product_attention
"""
_SHAPES = """
_to_copy _unsafe_view alias cat clone constant_pad_nd contiguous expand expand_as flatten flip movedim narrow pad
permute repeat reshape select slice squeeze stack sym_size t to transpose tril triu type_as unflatten unsqueeze view
"""
_MAKERS = frozenset(["arange", "full", "ones", "scalar_tensor", "zeros"])
_LIKE = "full_like ones_like zeros_like"
_SPLITTERS = frozenset(["chunk", "split", "split_with_sizes", "unbind"])

NAMES = _MAKERS | _SPLITTERS | frozenset(" ".join((_POINTWISE, _REDUCTIONS, _PRODUCTS, _SHAPES, _LIKE)).split())
"""Names of aten operators, without their overloads."""

_ELSEWHERE = ("aten.to.device", "aten.to.dtype_layout", "aten.to.prim_Device", "aten.to.prim_other")
"""Forms that name a device by position."""

MOST_PARTS, _LARGEST_SIZE = 2**16, 2**48


def _size(call: Callable[[int, int], int]) -> Callable[[object, object], int]:
    """Arithmetic on sizes: integers that stay sizes, nothing else."""

    def run(left: object, right: object) -> int:
        if type(left) is not int or type(right) is not int:
            raise TypeError("arithmetic on sizes takes integers")
        if abs(found := call(left, right)) > _LARGEST_SIZE:
            raise ValueError(f"a size of {found} is none")
        return found

    return run


def _pick(parts: object, index: object) -> object:
    """One of the results of an operator that has several."""
    if not isinstance(parts, tuple | list) or type(index) is not int:
        raise TypeError("only one of several results is picked, by its number")
    return parts[index]


NUMBERS: Mapping[str, Callable[..., Any]] = {
    "add": _size(lambda a, b: a + b),
    "sub": _size(lambda a, b: a - b),
    "mul": _size(lambda a, b: a * b),
    "floordiv": _size(lambda a, b: a // b),
    "getitem": _pick,
}
"""What Python's module `operator` calls so, for sizes and for operators of several results."""


def operator(name: str) -> Callable[..., Any]:
    """What `name` stands for: "aten.linear.default", or a name in NUMBERS. Raises InfluenceError for anything else."""
    if name in NUMBERS:
        return NUMBERS[name]
    parts = name.split(".")
    if len(parts) == 3 and parts[0] == "aten" and parts[1] in NAMES:
        packet = getattr(torch.ops.aten, parts[1], None)
        found = getattr(packet, parts[2], None) if isinstance(packet, OpOverloadPacket) else None
        if isinstance(found, OpOverload) and not found._schema.is_mutable and name not in _ELSEWHERE:
            return found
    raise InfluenceError(f"a program may not use the operator {name[:80]!r}")


def makes(name: str) -> bool:
    """Whether the operator makes a tensor of nothing, and so must be told on which device."""
    return name.split(".")[1:2] != [] and name.split(".")[1] in _MAKERS


def parts_of(name: str, operand: object) -> int:
    """At most how many results the operator gives: views, of which too many would fill the memory."""
    splits = name.startswith("aten.") and name.split(".")[1] in _SPLITTERS
    return max(operand.shape, default=1) if splits and isinstance(operand, torch.Tensor) else 1
