"""Every operator that torch has registered, and arguments made from its schema alone."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload

_LAZY = (
    "torch.distributed",
    "torch.distributed._functional_collectives",
    "torch._prims",
    "torch.ao.quantization.fx._decomposed",
    "torch._dynamo.eval_frame",
)
"""Modules of torch that register operators when they are loaded."""
_PLAIN: Mapping[str, object] = {
    "IntType": 1,
    "SymIntType": 1,
    "FloatType": 0.5,
    "NumberType": 2,
    "BoolType": False,
    "StringType": "mean",
    "DeviceObjType": torch.device("cpu"),
    "ScalarTypeType": torch.float32,
    "LayoutType": torch.strided,
    "MemoryFormatType": torch.contiguous_format,
}


def registered() -> Iterator[tuple[str, OpOverload]]:
    """(name with overload, operator) of the dispatcher, in the order of their names.

    TorchScript's own built-ins on Python numbers are not operators of the dispatcher and are left out.
    """
    for module in _LAZY:
        importlib.import_module(module)
    known = set(torch._C._dispatch_get_all_op_names())
    schemas = {_full(s): s for s in torch._C._jit_get_all_schemas()}
    for name in sorted(known & set(schemas)):
        namespace, packet = schemas[name].name.split("::")
        overload = getattr(getattr(torch.ops, namespace), packet), schemas[name].overload_name or "default"
        op = getattr(*overload, None)
        if isinstance(op, OpOverload):
            yield name, op


def _full(schema: Any) -> str:
    return f"{schema.name}.{schema.overload_name}" if schema.overload_name else str(schema.name)


def arguments(op: OpOverload, tensor: Tensor) -> tuple[list[Any], dict[str, Any]]:
    """Positional and keyword arguments for `op`: copies of `tensor`, small numbers; defaults stay, except tensors'.

    Of types that have no plain value (process groups, packed weights, ...) an object that no operator can take.
    """
    args, kwargs = [], {}
    for argument in op._schema.arguments:
        kind = argument.type.kind()
        if argument.has_default_value() and not argument.is_out and kind != "TensorType":
            continue
        value = torch.float32 if kind == "IntType" and "dtype" in argument.name else _value(argument.type, tensor)
        if argument.kwarg_only:
            kwargs[argument.name] = value
        else:
            args.append(value)
    return args, kwargs


def _value(kind: Any, tensor: Tensor) -> object:
    name = kind.kind()
    if name == "TensorType":
        return tensor.clone()
    if name == "OptionalType":
        return _value(kind.getElementType(), tensor)
    if name == "ListType":
        # A list of booleans is a mask of wanted gradients.
        element = kind.getElementType()
        return [True] * 3 if element.kind() == "BoolType" else [_value(element, tensor) for _ in range(2)]
    if name == "TupleType":
        return tuple(_value(element, tensor) for element in kind.elements())
    if name == "GeneratorType":
        return torch.Generator()
    return _PLAIN.get(name, object())


def is_composite(op: OpOverload) -> bool:
    """Whether torch writes it as calls of other operators, so that autograd takes it apart before a mode sees it."""
    return torch._C._dispatch_has_kernel_for_dispatch_key(op.name(), "CompositeImplicitAutograd")
