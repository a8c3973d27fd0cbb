"""Attention in torch's math form: products, a scale, a mask that may be -infinity, and the softmax below.

Fused kernels never take part: entering exact() selects the math form, and what was recorded with another is refused.
"""

from __future__ import annotations

import torch
from torch import Tensor

from validator.exact.rules.compound import softmax


def safe_softmax(x: Tensor, dim: int, dtype: torch.dtype | None = None) -> Tensor:
    """aten._safe_softmax: a row of nothing but -infinity, a query that may look nowhere, gives zeros."""
    x = x if dtype is None else x.to(dtype)
    if not x.numel():
        return x.clone()
    blind = x.amax(dim, keepdim=True) == -torch.inf
    if not bool(blind.any()):
        return softmax(x, dim, False)
    return softmax(x.masked_fill(blind, 0.0), dim, False).masked_fill_(blind, 0.0)
