"""How a kernel is compiled and started: by Triton, without contraction, on the device of its operands.

What Triton would otherwise take liberties with, and what keeps it from them:

    contraction   enable_fp_fusion=False, for LLVM and for ptxas (--fmad=false)
    division      only of float64, which is div.rn; `/` of float32 would be approximate
    denormals     no function of libdevice, the only place where they would be flushed; the rest keeps them
    negation      0 - x in some releases, which loses the sign of a zero: `negative` multiplies by -1
    exp, log ...  none of Triton's own
    constants     each has the type of the operand that it meets; floats are never arguments at run time (they would be
                  float32), but constants of the kernel

Sums, maxima and atomic operations are of integers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
import triton
from torch import Tensor

Kernel: TypeAlias = Any
"""A function that Triton compiles for the dtypes and constants of each first call."""
Constant: TypeAlias = str | float | bool
"""What a kernel is compiled for; a float has its 64 bits."""

jit: Callable[[Callable[..., Any]], Kernel] = triton.jit
"""Marks a kernel, or a function for use inside kernels."""

_LANES = 256
"""Elements of a block for each warp: eight to a thread."""
_MOST_WARPS = 8


def launch(kernel: Kernel, programs: int, width: int, /, *arguments: Tensor | int, **constants: Constant) -> None:
    """Run `programs` programs of the kernel on blocks of `width` elements. Tensors have no gaps, and share a device."""
    first = next(a for a in arguments if isinstance(a, Tensor))
    warps = max(1, min(width // _LANES, _MOST_WARPS))
    with torch.cuda.device(first.device.index if first.is_cuda else -1):
        kernel[(programs,)](*arguments, **constants, num_warps=warps, enable_fp_fusion=False)


def power_of_two(n: int) -> int:
    """The least power of two that is no less than n >= 1."""
    return 1 << (n - 1).bit_length()
