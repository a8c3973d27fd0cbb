"""Known answers: each kernel against the eager code, bit for bit, on small fixed inputs.

The eager code runs on the CPU, which is the definition; what the device makes of the eager code is another question,
and the self-test's. Inputs are of many magnitudes and hold zeros of both signs, denormals, and the ends of the range
that a function treats by themselves; rows are longer than a block, and of one element.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from validator.exact import functions, kernels, products, scaling, sums
from validator.exact.random import Stream
from validator.exact.rules import activations, compound

_SPECIAL = (
    0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, 3e-45, -3e-45, 2.0**-126, 5e-324, 2.0**-1022, 1e-310, 88.5, -104.0, 20.0,
    -20.0, 709.5, -709.0, -745.5, 28.0, 0.49999997, 0.7071067811865476, 1e30,
)  # fmt: skip
_MOST_ANGLE = 2.0**20
_LONG = 2100
"""More than the elements of a block."""
_FUNCTIONS = (
    "exp", "expm1", "sigmoid", "tanh", "log", "log1p", "softplus", "erf", "erfc", "sqrt", "rsqrt", "sin", "cos",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Call:
    """What defines a kernel, and arguments to try both with; tensors are on the CPU."""

    eager: Callable[..., Any]
    arguments: tuple[Any, ...]
    options: dict[str, Any] = field(default_factory=dict)


def paths(dtype: torch.dtype) -> list[str]:
    """The kernels there are for a dtype."""
    with kernels.reference():
        return sorted(_calls(dtype))


def disagreement(path: str, kernel: Callable[..., Any], dtype: torch.dtype, device: torch.device) -> str | None:
    """What is wrong with a kernel on the device, in words: it cannot be built there, or it gives other bits."""
    with _disable_current_modes(), torch.no_grad(), kernels.reference():
        calls = _calls(dtype).get(path, [])
        for call in calls:
            expected = call.eager(*call.arguments, **call.options)
            try:
                found = kernel(*_moved(call.arguments, device), **call.options)
                wrong = difference(found, expected)
            # Whatever keeps a kernel from being built (a compiler, an assembler, a driver) is a reason to go without.
            except Exception as error:  # noqa: BLE001
                return f"{type(error).__name__}: {str(error).strip().rpartition(chr(10))[2]}"
            if wrong is not None:
                return wrong
    return None if calls else f"it has no known answer for {dtype}"


def difference(found: object, expected: object) -> str | None:
    """The first place where two results differ in bits, in words, whatever their strides. All NaNs are one."""
    if not isinstance(expected, Tensor) or not isinstance(found, Tensor):
        if not isinstance(expected, Sequence) or not isinstance(found, Sequence):
            return None if found is expected else f"expected {type(expected).__name__}, got {type(found).__name__}"
        each = (difference(ours, theirs) for ours, theirs in zip(found, expected, strict=True))
        return next((wrong for wrong in each if wrong), None)
    for what in ("dtype", "shape"):
        if getattr(found, what) != getattr(expected, what):
            return f"{what}: expected {getattr(expected, what)}, got {getattr(found, what)}"
    ours, theirs = _patterns(found), _patterns(expected)
    places = (ours != theirs).nonzero()
    if not places.numel():
        return None
    i = int(places[0])
    return f"element {i}: expected {int(theirs[i]):#x}, got {int(ours[i]):#x} ({len(places)} of {len(ours)} differ)"


def _patterns(x: Tensor) -> Tensor:
    one_nan = torch.where(x.isnan(), torch.full_like(x, float("nan")), x).cpu().contiguous()
    return one_nan.view(torch.int64 if x.dtype == torch.float64 else torch.int32).flatten()


def _moved(arguments: tuple[Any, ...], device: torch.device) -> tuple[Any, ...]:
    return tuple(a.to(device) if isinstance(a, Tensor) else a for a in arguments)


@functools.cache
def _calls(dtype: torch.dtype) -> dict[str, list[Call]]:
    """All known answers for a dtype. The inputs are made by eager code as well, or they would ask for kernels."""
    calls = _of_functions(dtype) | _of_activations(dtype) | _of_rows(dtype) | _of_norms(dtype) | _of_grids(dtype)
    if dtype == torch.float64:
        turns = Call(functions.cos_sin_turns, (Stream(b"kernels", "turns").uniform((300,)).double(),))
        halves = Call(functions.cos_sin_turns, (torch.arange(8, dtype=torch.float64) / 8,))
        return calls | {
            "pointwise.cos_sin_turns": [turns, halves],
            "grids.settle": [Call(products._single, (various("settle", (7, 150), dtype),))],
        }
    return calls | {"activations.power": _powers()}


def normal(name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Standard normals with all bits of their dtype in use."""
    stream = Stream(b"kernels", name)
    return (stream.normal(shape).double() + stream.normal(shape).double() * 2.0**-24).to(dtype)


def various(name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Numbers of magnitudes from 2^-30 to 2^9, the special ones first."""
    sizes = torch.ones(shape, dtype=torch.int64) << Stream(b"kernels", f"sizes of {name}").integers(40, shape)
    x = normal(name, shape, dtype) * sizes.to(dtype) * 2.0**-30
    special = torch.tensor(_SPECIAL, dtype=torch.float64).to(dtype)
    x.view(-1)[: len(_SPECIAL)] = special[: x.numel()]
    return x


def _rounded(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """A function of functions.py as its kernel computes it: float64 as it is, float32 rounded once."""

    def run(x: Tensor) -> Tensor:
        return function(x) if x.dtype == torch.float64 else products.settle(function(x.double()), x.dtype)

    return run


def _of_functions(dtype: torch.dtype) -> dict[str, list[Call]]:
    x = various("functions", (1300,), dtype)
    wild = torch.cat([x, torch.tensor([float("inf"), float("-inf"), float("nan")], dtype=dtype)])
    angles = x[x.abs() <= _MOST_ANGLE]
    calls = {}
    for name in _FUNCTIONS:
        function = getattr(functions, f"_{name}" if name in ("sin", "cos") else name)
        calls[f"pointwise.{name}"] = [Call(_rounded(function), (angles if name in ("sin", "cos") else wild,))]
    return calls


def _of_activations(dtype: torch.dtype) -> dict[str, list[Call]]:
    a = activations
    x, g = various("inputs", (9, 130), dtype), various("gradients", (130, 9), dtype).T
    mild = x.clamp(-80.0, 80.0)
    turned = mild.T.contiguous().T
    share = functions.sigmoid(mild.double()).to(dtype)
    elu = (1.3, 1.1, 0.7)
    calls = {
        "sigmoid_backward": [Call(a.sigmoid_backward, (g, share))],
        "tanh_backward": [Call(a.tanh_backward, (g, share))],
        "silu": [Call(a.silu, (mild,)), Call(a.silu, (turned,))],
        "silu_backward": [Call(a.silu_backward, (g, mild))],
        "gelu": [Call(a.gelu, (mild,), {"approximate": form}) for form in ("none", "tanh")],
        "gelu_backward": [Call(a.gelu_backward, (g, mild), {"approximate": form}) for form in ("none", "tanh")],
        "softplus": [Call(a.softplus, (mild,)), Call(a.softplus, (mild, 1.7, 5.0))],
        "softplus_backward": [Call(a.softplus_backward, (g, mild, 1.7, 5.0))],
        "log_sigmoid": [Call(a._log_sigmoid, (mild,))],
        "log_sigmoid_backward": [Call(a._log_sigmoid_backward, (g, mild))],
        "elu": [Call(a.elu, (mild,)), Call(a.elu, (mild, *elu))],
        "elu_backward": [Call(a.elu_backward, (g, *elu, of_result, mild)) for of_result in (False, True)],
    }
    return {f"activations.{name}": each for name, each in calls.items()}


def _powers() -> list[Call]:
    x = various("powers", (400,), torch.float32)
    return [Call(activations.power, (x.abs(), y)) for y in (0.5, -0.5, 1.7)] + [
        Call(activations.power, (x, y)) for y in (1, 3, 3.0, 11)
    ]


def _of_rows(dtype: torch.dtype) -> dict[str, list[Call]]:
    c = compound
    wide, tall, single = (various(f"rows {shape}", shape, dtype) for shape in ((2, _LONG), (130, 2), (3, 1)))
    turned = normal("turned", (2, 9, 3), dtype).transpose(0, 2)
    g = normal("row gradients", (2, _LONG), dtype)
    chances, logs = c.softmax(wide, 1, False), c.log_softmax(g, 1, False)
    forward = [(wide, 1, False), (tall, 0, False), (single, 1, False), (turned, 1, False), (turned, -1, False)]
    return {
        "rows.softmax": [Call(c.softmax, each) for each in forward],
        "rows.log_softmax": [Call(c.log_softmax, each) for each in forward],
        "rows.logsumexp": [Call(c.logsumexp, (wide, [1])), Call(c.logsumexp, (turned, [0, 2], True))],
        "rows.softmax_backward": [
            Call(c.softmax_backward, (g, chances, 1, dtype)),
            Call(c.softmax_backward, (turned, turned.flip(0), 1, dtype)),
        ],
        "rows.log_softmax_backward": [
            Call(c.log_softmax_backward, (g, logs, 1, dtype)),
            Call(c.log_softmax_backward, (turned, turned, 0, dtype)),
        ],
    }


def _of_norms(dtype: torch.dtype) -> dict[str, list[Call]]:
    c = compound
    long, short, g, weight, bias = (
        normal(f"norm {i}", shape, dtype)
        for i, shape in enumerate(((2, _LONG), (3, 4, 12), (2, _LONG), (_LONG,), (_LONG,)))
    )
    statistics = c.layer_norm(long, (_LONG,), None, None, 1e-5)[1:]
    few = c.layer_norm(short, (4, 12), None, None, 1e-5)[1:]
    small = weight[:48].view(4, 12)
    return {
        "norms.layer_norm": [
            Call(c.layer_norm, (long, (_LONG,), weight, bias, 1e-5)),
            Call(c.layer_norm, (short, (4, 12), small, None, 1e-3)),
            Call(c.layer_norm, (short.transpose(0, 1), (12,), None, bias[:12], 0.25)),
            Call(c.layer_norm, (short[..., :1], (1,), None, None, 1e-5)),
        ],
        "norms.layer_norm_gradients": [
            Call(c._layer_norm_gradients, (g, long, 1, *statistics, weight, True)),
            Call(c._layer_norm_gradients, (g, long, 1, *statistics, None, False)),
            Call(c._layer_norm_gradients, (short.flip(0), short, 2, *few, small, True)),
        ],
    }


def _of_grids(dtype: torch.dtype) -> dict[str, list[Call]]:
    op = "aten.sum"
    x = various("grids", (3, 2500), dtype)
    cube = normal("cube", (3, 70, 9), dtype).transpose(0, 1)
    grids = [(x, (1,)), (x, (0,)), (x.T, (1,)), (cube, (1,)), (cube, (0, 2)), (x[:, ::3], (1,))]
    fine = (False, True)
    return {
        "grids.snap": [Call(scaling._one_slice, (a, dims, bits, op)) for bits in (21, 26) for a, dims in grids],
        "grids.total": [
            Call(sums._total, (a, dims, keep, sums.sum_bits(sums.count(a.shape, dims)), more, op))
            for keep, more in zip(fine, fine[::-1], strict=True)
            for a, dims in [*grids, (x, (0, 1)), (cube, (0, 1, 2))]
        ],
    }
