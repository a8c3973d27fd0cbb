"""Records that no arithmetic survives must not stop the scoring of the others.

A contribution may hold values, legal under the schema, on which training or a forward pass leaves the finite range.
Exact arithmetic raises NonFinite then, the same on every machine. Such an item is set apart by halving and gets a
fallback; the others keep their bits, since none depends on its neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from validator.exact import NonFinite

Item = TypeVar("Item")


def apart(items: Sequence[Item], compute: Callable[[Sequence[Item]], Tensor], fallback: Tensor) -> Tensor:
    """`compute(items)`, one row an item; rows of items on which it raises NonFinite are `fallback`, of the shape of a
    row.
    """
    try:
        return compute(items)
    except NonFinite:
        if len(items) == 1:
            return fallback.unsqueeze(0)
    middle = len(items) // 2
    return torch.cat([apart(items[:middle], compute, fallback), apart(items[middle:], compute, fallback)])
