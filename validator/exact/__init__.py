"""Exact arithmetic: the same bits on every IEEE-754 device, forward and backward, or a refusal that names the operator.

    from validator.exact import exact
    with exact():
        loss = model(x).square().mean()
        loss.backward()

VERSION is part of a DAO's manifest: a change of any golden digest is a change of protocol and raises it.
"""

from __future__ import annotations

from validator.exact.errors import ExactError, NonFinite, UnsupportedOp
from validator.exact.frozen import frozen
from validator.exact.mode import exact

VERSION = 2

__all__ = ["VERSION", "ExactError", "NonFinite", "UnsupportedOp", "exact", "frozen"]
