"""LLVM's vectors, for the kernels that write them out: loading, storing, one value in every place."""

from __future__ import annotations

from llvmlite import ir

from validator.exact.kernels.build import Code

_INDEX = ir.IntType(32)


def loaded(builder: Code, address: Code, kind: Code, offset: Code = 0, align: int = 4) -> Code:
    """The vector at an address, an int64, and `offset` bytes: a number, or an int64."""
    return builder.load(_place(builder, address, kind, offset), align=align)


def stored(builder: Code, value: Code, address: Code, offset: int = 0) -> None:
    """Write a vector there."""
    builder.store(value, _place(builder, address, value.type, offset), align=4)


def every(builder: Code, value: Code, kind: Code) -> Code:
    """A vector of one value."""
    nothing = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(nothing, value, _INDEX(0))
    return picked(builder, first, nothing, [0] * kind.count)


def picked(builder: Code, first: Code, second: Code, which: list[int]) -> Code:
    """Elements of two vectors, numbered one after the other."""
    return builder.shuffle_vector(first, second, ir.Constant(ir.VectorType(_INDEX, len(which)), which))


def _place(builder: Code, address: Code, kind: Code, offset: Code) -> Code:
    distance = ir.IntType(64)(offset) if isinstance(offset, int) else offset
    return builder.inttoptr(builder.add(address, distance), ir.PointerType(kind))
