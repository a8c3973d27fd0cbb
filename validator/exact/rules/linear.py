"""Products as aten names them. A bias is added after the product has been rounded: torch.func's batching rules split
addmm into bmm and add, and both ways must give the same bits."""

from __future__ import annotations

import torch
from torch import Tensor

from validator.exact.products import rounded


def mm(a: Tensor, b: Tensor, op: str = "aten.mm") -> Tensor:
    """(m, k) @ (k, n); integers are exact as they are."""
    if not a.dtype.is_floating_point:
        return torch.matmul(a, b)
    return rounded(a, b, op)


def bmm(a: Tensor, b: Tensor) -> Tensor:
    """(batch, m, k) @ (batch, k, n)."""
    return mm(a, b, "aten.bmm")


def mv(a: Tensor, x: Tensor) -> Tensor:
    """(m, k) @ (k,)."""
    return mm(a, x.unsqueeze(1), "aten.mv").squeeze(1)


def dot(x: Tensor, y: Tensor) -> Tensor:
    """(k,) . (k,)."""
    return mm(x.unsqueeze(0), y.unsqueeze(1), "aten.dot").view(())


def addmm(base: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta base + alpha (a @ b)."""
    return _add(base, mm(a, b, "aten.addmm"), beta, alpha)


def addmv(base: Tensor, a: Tensor, x: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta base + alpha (a @ x)."""
    return _add(base, mv(a, x), beta, alpha)


def baddbmm(base: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta base + alpha (a @ b), batched."""
    return _add(base, mm(a, b, "aten.baddbmm"), beta, alpha)


def _add(base: Tensor, result: Tensor, beta: float, alpha: float) -> Tensor:
    if alpha != 1:
        result = result.mul_(alpha)
    if beta == 0:
        return result
    return result.add_(base if beta == 1 else torch.mul(base, beta))
