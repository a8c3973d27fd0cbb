"""What the processor at hand cannot do, for tests that need it."""

from __future__ import annotations

import pytest
import torch


def _int8_saturates() -> bool:
    """Whether int8 products are taken in saturating 16 bits here: no VNNI."""
    x = torch.arange(64 * 64).mul(37).remainder(256).sub(128).view(64, 64)
    narrow = x.to(torch.int8)
    return not torch.equal(torch._int_mm(narrow, narrow).long(), x @ x)


needs_vnni = pytest.mark.skipif(_int8_saturates(), reason="int8 products saturate on this processor: no VNNI")
