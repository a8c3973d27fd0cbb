"""JSON from outside, its nesting bounded before the parser sees it.

Python's own parser is stopped by the recursion limit only, and py_ecc, which eth_keyfile brings along, raises that to
100,000 on import. From then on a few kilobytes of ``[`` overflow the stack of C and end the process with a segmentation
fault, which no ``except`` can catch.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

MOST_DEPTH = 32

_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def loads(raw: bytes, depth: int = MOST_DEPTH, **hooks: Callable[..., Any]) -> object:
    """Parse ``raw``; ValueError if it is not JSON in UTF-8, or nested deeper than ``depth``. ``hooks`` are those of
    ``json.loads``.
    """
    if _deeper_than(raw, depth):
        raise ValueError(f"brackets do not match, or are nested deeper than {depth}")
    # As text: from bytes json.loads takes UTF-16 too, whose quotes and brackets are not the ones counted above.
    value: object = json.loads(raw.decode(), **hooks)  # type: ignore[arg-type]  # all of them are functions
    return value


def _deeper_than(raw: bytes, depth: int) -> bool:
    brackets = _STRING.sub(b"", raw).translate(None, _NOT_BRACKETS)
    # Each pass removes the innermost pairs, at the speed of C: at most one level of lists and one of objects.
    for _ in range(depth):
        if not brackets:
            return False
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
    return bool(brackets)
