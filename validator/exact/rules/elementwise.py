"""Single IEEE operations, and compound aten forms cut into them: one correctly rounded operation for each ATen call.

`add(alpha=)`, `addcmul`, `lerp` and their like may be compiled with or without a fused multiply-add; division by a
Python number becomes a multiplication by its reciprocal on CUDA. Nothing in the call tells which, so all are rewritten.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from validator.exact.errors import UnsupportedOp

Scalar = int | float | bool


def add(x: Tensor, y: Tensor | Scalar, *, alpha: Scalar = 1) -> Tensor:
    """aten.add: a product, then a sum, when alpha is not 1."""
    return torch.add(x, _scaled(y, alpha))


def add_scalar(x: Tensor, y: Scalar, alpha: Scalar = 1) -> Tensor:
    """aten.add.Scalar."""
    return torch.add(x, y * alpha)


def sub(x: Tensor, y: Tensor | Scalar, *, alpha: Scalar = 1) -> Tensor:
    """aten.sub."""
    return torch.sub(x, _scaled(y, alpha))


def sub_scalar(x: Tensor, y: Scalar, alpha: Scalar = 1) -> Tensor:
    """aten.sub.Scalar."""
    return torch.sub(x, y * alpha)


def rsub(x: Tensor, y: Tensor | Scalar, alpha: Scalar = 1) -> Tensor:
    """aten.rsub: y - alpha x."""
    return torch.rsub(x if alpha == 1 else torch.mul(x, alpha), y)


def div(x: Tensor, y: Tensor | Scalar) -> Tensor:
    """aten.div: a true division, by a tensor on the same device."""
    if isinstance(y, Tensor):
        # A number that lies on the CPU would be inverted and multiplied, like one of Python's.
        return torch.div(x, y.to(x.device)) if x.dim() else torch.div(x.to(y.device), y)
    dtype = x.dtype if x.dtype.is_floating_point else torch.get_default_dtype()
    return torch.div(x, torch.full((), y, dtype=dtype, device=x.device))


def div_mode(x: Tensor, y: Tensor | Scalar, *, rounding_mode: str | None = None) -> Tensor:
    """aten.div with a rounding mode: integers only."""
    if rounding_mode is None:
        return div(x, y)
    _integers("aten.div.Tensor_mode", x, y)
    return torch.div(x, y, rounding_mode=rounding_mode)


def integer_only(name: str, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """An operator that is exact on integers and refused on floats."""

    def run(x: Tensor, y: Tensor | Scalar) -> Tensor:
        _integers(name, x, y)
        return function(x, y)

    return run


def reciprocal(x: Tensor) -> Tensor:
    """aten.reciprocal: 1 / x."""
    dtype = x.dtype if x.dtype.is_floating_point else torch.get_default_dtype()
    return torch.div(torch.ones((), dtype=dtype, device=x.device), x)


def addcmul(x: Tensor, a: Tensor, b: Tensor, *, value: Scalar = 1) -> Tensor:
    """aten.addcmul: x + (value a) b, three roundings."""
    return torch.add(x, torch.mul(b, _scaled(a, value)))


def addcdiv(x: Tensor, a: Tensor, b: Tensor, *, value: Scalar = 1) -> Tensor:
    """aten.addcdiv: x + (value a) / b, three roundings."""
    return torch.add(x, div(torch.mul(a, value), b))


def lerp(start: Tensor, end: Tensor, weight: Tensor | Scalar) -> Tensor:
    """aten.lerp: start + weight (end - start), three roundings."""
    return torch.add(start, torch.mul(torch.sub(end, start), weight))


def leaky_relu(x: Tensor, slope: Scalar = 0.01) -> Tensor:
    """aten.leaky_relu."""
    return torch.where(x > 0, x, torch.mul(x, slope)).add_(0.0)


def leaky_relu_backward(grad: Tensor, x: Tensor, slope: Scalar, is_result: bool) -> Tensor:
    """aten.leaky_relu_backward."""
    return torch.where(x > 0, grad, torch.mul(grad, slope))


def hardtanh_backward(grad: Tensor, x: Tensor, low: Scalar, high: Scalar) -> Tensor:
    """aten.hardtanh_backward."""
    outside = torch.logical_or(x <= low, x >= high)
    return torch.where(outside, torch.zeros((), dtype=grad.dtype, device=grad.device), grad).add_(0.0)


def positive_zero(function: Callable[..., Any]) -> Callable[..., Any]:
    """An operator that chooses among its inputs. +0 and -0 tie and either may come out, so both become +0."""

    def run(*args: object, **kwargs: object) -> Tensor | tuple[Tensor, ...]:
        result = function(*args, **kwargs)
        if isinstance(result, Tensor):
            return result + 0.0 if result.dtype.is_floating_point else result
        return tuple(r + 0.0 if r.dtype.is_floating_point else r for r in result)

    return run


def convert(x: Tensor, *, dtype: torch.dtype | None = None, **kwargs: object) -> Tensor:
    """aten._to_copy. A float that does not fit the integer it becomes is refused: devices differ on the outcome."""
    if dtype is not None and x.dtype.is_floating_point and not dtype.is_floating_point and dtype is not torch.bool:
        info = torch.iinfo(dtype)
        # 2^63 is a double, 2^63 - 1 is not: compare against the power of two above.
        if x.numel() and not bool(((x > info.min - 1.0) & (x < info.max + 1.0) | (x == float(info.min))).all()):
            raise UnsupportedOp("aten._to_copy", f"a value is not finite or does not fit {dtype}")
    return torch.ops.aten._to_copy.default(x, dtype=dtype, **kwargs)  # type: ignore[no-any-return]


def copy(target: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
    """aten.copy_, with the check of `convert` where floats become integers."""
    if source.dtype.is_floating_point and not target.dtype.is_floating_point:
        source = convert(source, dtype=target.dtype)
    return target.copy_(source)


def integer_range(
    *bounds: Scalar, dtype: torch.dtype | None = None, device: torch.device | None = None, **layout: object
) -> Tensor:
    """aten.arange of integers; a float start or step may be multiplied and added in one rounding or in two."""
    if any(isinstance(b, float) for b in bounds):
        raise UnsupportedOp("aten.arange", "a float range is not the same everywhere; make an integer one and scale it")
    return torch.arange(*bounds, dtype=dtype, device=device)


def zeros_for_empty(
    x: Tensor | Sequence[int],
    size: Sequence[int] | None = None,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | None = None,
    **layout: object,
) -> Tensor:
    """aten.empty, empty_like and new_empty: memory nobody wrote is not the same anywhere, so it is zero."""
    if not isinstance(x, Tensor):
        return torch.zeros(tuple(x), dtype=dtype, device=device)
    return torch.zeros(tuple(x.shape if size is None else size), dtype=dtype or x.dtype, device=device or x.device)


def zeros_strided(
    x: Tensor,
    size: Sequence[int],
    stride: Sequence[int],
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | None = None,
    **layout: object,
) -> Tensor:
    """aten.new_empty_strided, zeroed."""
    return zeros_strided_factory(size, stride, dtype=dtype or x.dtype, device=device or x.device)


def zeros_strided_factory(
    size: Sequence[int],
    stride: Sequence[int],
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | None = None,
    **layout: object,
) -> Tensor:
    """aten.empty_strided, zeroed."""
    return torch.empty_strided(tuple(size), tuple(stride), dtype=dtype, device=device).zero_()


def _scaled(x: Tensor | Scalar, factor: Scalar) -> Tensor | Scalar:
    if isinstance(x, Tensor):
        return x if factor == 1 else torch.mul(x, factor)
    return x * factor


def _integers(name: str, x: Tensor, y: Tensor | Scalar) -> None:
    floats = x.dtype.is_floating_point or (y.dtype.is_floating_point if isinstance(y, Tensor) else isinstance(y, float))
    if floats:
        raise UnsupportedOp(name, "it is exact on integers only")
    if bool((y == 0).any()) if isinstance(y, Tensor) else y == 0:
        raise UnsupportedOp(name, "an integer is divided by zero; a GPU would go on with an arbitrary value")
