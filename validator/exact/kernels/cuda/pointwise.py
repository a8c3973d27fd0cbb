"""The functions of functions.py, element by element: one kernel, told by name which of them to compute.

Tensors are walked in the order of memory. float64 goes in and out as it is; float32 is widened, and rounded once with
zeros positive, which is what activations.rounded does.
"""

from __future__ import annotations

import functools

import torch
import triton.language as tl
from torch import Tensor

from validator.exact.kernels.cuda import scalar
from validator.exact.kernels.cuda.launch import jit, launch
from validator.exact.kernels.cuda.layout import dense

BLOCK = 1024


@jit
def _function(x: tl.tensor, out: tl.tensor, n: int, name: tl.constexpr, block: tl.constexpr) -> None:
    at = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    narrow = tl.load(x + at, mask=at < n, other=1.0)
    value = narrow.to(tl.float64)
    if name == "exp":
        result = scalar.exp(value)
    elif name == "expm1":
        result = scalar.expm1(value)
    elif name == "sigmoid":
        result = scalar.sigmoid(value)
    elif name == "tanh":
        result = scalar.tanh(value)
    elif name == "log":
        result = scalar.log(value)
    elif name == "log1p":
        result = scalar.log1p(value)
    elif name == "softplus":
        result = scalar.softplus(value)
    elif name == "erf":
        result = scalar.erf(value)
    elif name == "erfc":
        result = scalar.erfc(value)
    elif name == "sqrt":
        result = scalar.sqrt(value)
    elif name == "rsqrt":
        result = scalar.rsqrt(value)
    elif name == "sin":
        result = scalar.sin(value)
    else:
        tl.static_assert(name == "cos")
        result = scalar.cos(value)
    if narrow.dtype == tl.float64:
        tl.store(out + at, result, mask=at < n)
    else:
        tl.store(out + at, scalar.settled(result, out), mask=at < n)


@jit
def _turns(u: tl.tensor, cosine: tl.tensor, sine: tl.tensor, n: int, block: tl.constexpr) -> None:
    at = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    first, second = scalar.cos_sin_turns(tl.load(u + at, mask=at < n, other=0.0))
    tl.store(cosine + at, first, mask=at < n)
    tl.store(sine + at, second, mask=at < n)


def blocks(x: Tensor) -> int:
    """Programs for one element-wise pass over `x`."""
    return -(-x.numel() // BLOCK)


def _of(name: str, x: Tensor) -> Tensor:
    out = torch.empty_like(x)
    launch(_function, blocks(x), BLOCK, dense(x, out), out, x.numel(), name=name, block=BLOCK)
    return out


exp = functools.partial(_of, "exp")
expm1 = functools.partial(_of, "expm1")
sigmoid = functools.partial(_of, "sigmoid")
tanh = functools.partial(_of, "tanh")
log = functools.partial(_of, "log")
log1p = functools.partial(_of, "log1p")
softplus = functools.partial(_of, "softplus")
erf = functools.partial(_of, "erf")
erfc = functools.partial(_of, "erfc")
sqrt = functools.partial(_of, "sqrt")
rsqrt = functools.partial(_of, "rsqrt")
sin = functools.partial(_of, "sin")
cos = functools.partial(_of, "cos")


def cos_sin_turns(u: Tensor) -> tuple[Tensor, Tensor]:
    """functions.cos_sin_turns."""
    results = torch.empty_like(u), torch.empty_like(u)
    launch(_turns, blocks(u), BLOCK, dense(u, results[0]), *results, u.numel(), block=BLOCK)
    return results
