"""Weights that do not change for a while are snapped to their grids once, not for every product they take part in.

    with exact(), frozen(weights.values()):
        for batch in batches:
            logits = model(batch)

The results are the same bits; a cached operand costs 8 bytes an element and side (rows of a left operand, columns of a
right one).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar, cast

from torch import Tensor

from validator.exact.errors import ExactError
from validator.exact.scaling import slices

T = TypeVar("T")
_Key: TypeAlias = "tuple[object, ...]"


@dataclass(slots=True)
class _Kept:
    """A tensor whose memory is promised not to change, the version it had, and its operands so far."""

    tensor: Tensor
    version: int
    operands: dict[_Key, object] = field(default_factory=dict)


_kept: ContextVar[dict[int, _Kept] | None] = ContextVar("_kept", default=None)
"""By the address of the storage; the entry keeps the tensor, so that no other can come to live there."""


@contextmanager
def frozen(tensors: Iterable[Tensor]) -> Iterator[None]:
    """Promise that `tensors` and their views stay as they are inside. Applies to this thread.

    An in-place operation on one of them is found out at its next product: ExactError. Writing through `.data` or
    through NumPy escapes torch's version counter and is not found out. Raises ExactError for tensors made in inference
    mode, which have no such counter.
    """
    entries = dict(_kept.get() or {})
    for tensor in tensors:
        if tensor.is_inference():
            raise ExactError("a tensor made in inference mode cannot be frozen: torch does not count its changes")
        entries[tensor.untyped_storage().data_ptr()] = _Kept(tensor, tensor._version)
    token = _kept.set(entries)
    try:
        yield
    finally:
        _kept.reset(token)


def operand(x: Tensor, dims: tuple[int, ...], bits: int, count: int, op: str) -> list[Tensor]:
    """scaling.slices of one side of a product, kept if `x` is a view of a frozen tensor. Raises NonFinite."""
    return kept(x, ("slices", dims, bits), lambda: slices(x, dims, bits, count, op), op)


def kept(
    x: Tensor, kind: tuple[object, ...], make: Callable[[], T], op: str, passing: Callable[[], T] | None = None
) -> T:
    """What `make` gives for `x`, kept by its `kind` if `x` is a view of a frozen tensor. If nothing keeps it, what
    `passing` gives instead, where there is such a way.
    """
    entries = _kept.get()
    entry = entries.get(x.untyped_storage().data_ptr()) if entries else None
    if entry is None:
        return (passing or make)()
    if entry.tensor._version != entry.version:
        raise ExactError(f"{op}: a frozen tensor of shape {tuple(entry.tensor.shape)} was changed in place")
    key = (x.dtype, x.storage_offset(), tuple(x.shape), x.stride(), *kind)
    if key not in entry.operands:
        entry.operands[key] = make()
    return cast(T, entry.operands[key])
