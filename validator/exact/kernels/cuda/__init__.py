"""Fused kernels for CUDA devices, in Triton. Same bits as the eager code, which is the definition and the reference.

launch.py says how they are compiled; scalar.py, pointwise.py, activations.py, grids.py, rows.py and norms.py hold
what the modules of those names do for the CPU. Every kernel must give a known answer (known.py) on the device at hand,
in the dtype at hand, before it is used there. Where Triton is missing, too old or wrong, the eager code runs, and one
warning says so.

Triton's interpreter (TRITON_INTERPRET=1) runs the same kernels on CPU tensors, for tests.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import re
import warnings
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import torch

_OLDEST = (3, 6)
"""The first release of Triton that these were tried with. Earlier ones (3.2) cannot index a constant tuple, and look
for compiled code on disk without regard to the values of constants."""
_CAPABILITY = (8, 0)
"""The least compute capability that Triton supports in full."""
_MODULES = ("activations", "grids", "norms", "pointwise", "rows")


@functools.cache
def kernel(path: str, dtype: torch.dtype, device: torch.device) -> Callable[..., Any] | None:
    """The kernel at `path` ("module.function"), if it is to be trusted with tensors of this dtype on this device.

    Once per process it has to give its known answer there; None if it does not, if there is no such kernel, or if the
    device cannot run any.
    """
    function = _function(path) if _usable(device) else None
    if function is None:
        return None
    from validator.exact.kernels.cuda import known

    wrong = known.disagreement(path, function, dtype, device)
    if wrong is None:
        return function
    warnings.warn(f"the fused kernel {path} is not used for {dtype} on {device}: {wrong}", stacklevel=2)
    return None


def unusable(device: torch.device) -> str | None:
    """Why no kernel can run on the device, in words; None if they can."""
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    found = version("triton")
    if tuple(int(part) for part in re.findall(r"\d+", found)[:2]) < _OLDEST:
        return f"triton {found} is older than {'.'.join(map(str, _OLDEST))}"
    if device.type == "cuda":
        return _unfit(device)
    return None if device.type == "cpu" and _interpreted() else "Triton compiles for CUDA devices alone"


def check(device: torch.device | str) -> list[str]:
    """Which kernels disagree with the eager code on the device, each with its dtype and what is wrong.

    Every kernel is asked, in float32 and in float64. Nothing is asked, and nothing found, on a device that is
    `unusable`.
    """
    place = torch.device(device)
    if unusable(place):
        return []
    from validator.exact.kernels.cuda import known

    found = []
    for dtype in (torch.float32, torch.float64):
        for path in known.paths(dtype):
            function = _function(path)
            wrong = "there is no such kernel" if function is None else known.disagreement(path, function, dtype, place)
            if wrong is not None:
                found.append(f"{path} {dtype}: {wrong}")
    return found


@functools.cache
def _usable(device: torch.device) -> bool:
    why = unusable(device)
    if why is not None:
        warnings.warn(f"no fused kernels run on {device}: {why}; the eager code does, more slowly", stacklevel=2)
    return why is None


def _function(path: str) -> Callable[..., Any] | None:
    module, name = path.split(".")
    if module not in _MODULES:
        return None
    return getattr(importlib.import_module(f"{__name__}.{module}"), name, None)


def _unfit(device: torch.device) -> str | None:
    if torch.version.cuda is None:
        return "this build of torch is not for CUDA"
    capability = torch.cuda.get_device_capability(device)
    if capability < _CAPABILITY:
        return f"compute capability {capability[0]}.{capability[1]} is below {_CAPABILITY[0]}.{_CAPABILITY[1]}"
    return None


def _interpreted() -> bool:
    from triton.runtime.interpreter import InterpretedFunction

    from validator.exact.kernels.cuda import scalar

    return isinstance(scalar.exp, InterpretedFunction)
