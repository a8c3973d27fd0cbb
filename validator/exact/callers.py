"""Who asked for an operator: read from the stack of Python frames, and only once an error is on its way."""

from __future__ import annotations

import sys
from types import FrameType

import torch
from torch import nn
from torch.autograd.graph import Node

_BACKWARD = "_engine_run_backward"
"""The Python function that every backward pass starts in."""


def where() -> str | None:
    """Who asks for the operator at hand: "layers.3.attn (SelfAttention)", counted from the outermost module at work;
    in a backward pass "the backward of ProdBackward0"; None outside of both.
    """
    node: Node | None = torch._C._current_autograd_node()
    modules, backward = _callers()
    module = _path(modules) if modules else None
    if node is None and not backward:
        return module
    place = "the backward pass" if node is None else f"the backward of {node.name()}"
    return place if module is None else f"{module}, run again in {place}"


def innermost_module() -> nn.Module | None:
    """The module whose code is at work."""
    return next(iter(_callers()[0]), None)


def _callers() -> tuple[list[nn.Module], bool]:
    """Modules whose methods run, innermost first, as far as the start of the backward pass that runs them; and whether
    there is one.
    """
    modules: list[nn.Module] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if code.co_name == _BACKWARD:
            return modules, True
        owner = frame.f_locals.get(code.co_varnames[0]) if code.co_argcount else None
        if isinstance(owner, nn.Module):
            modules.append(owner)
        frame = frame.f_back
    return modules, False


def _path(modules: list[nn.Module]) -> str:
    """The innermost module by its name in the outermost one that holds it."""
    inner = modules[0]
    kind = type(inner).__name__
    for outer in reversed(modules):
        for name, part in outer.named_modules():
            if part is inner:
                return f"{name} ({kind})" if name else kind
    return kind
