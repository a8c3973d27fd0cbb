"""What single operations must do: known answers, denormals, infinities, integers. Nothing here uses exact() itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from validator.exact import functions
from validator.exact.conformance import vectors
from validator.exact.conformance.report import Fact
from validator.exact.random import philox

_REPEATS = 9
"""Vectors stand several times in one tensor, in odd number, so that vectorised loops and their tails both meet them."""
_SLICE = 1 << 15
"""torch gives each of its threads at least this many elements of a pointwise operation."""
_FLOATS: dict[int, torch.dtype] = {64: torch.float64, 32: torch.float32}

Bits = NDArray[np.uint64]


def floats(patterns: Sequence[int], width: int, device: torch.device) -> Tensor:
    """Bit patterns as float64 or float32 (`width` 64 or 32) on the device, repeated."""
    kind = np.dtype(f"u{width // 8}")
    array = np.tile(np.array(patterns, dtype=kind), _REPEATS).view(f"f{width // 8}")
    return torch.from_numpy(array).to(device)


def patterns(x: Tensor) -> Bits:
    """The bit patterns of a tensor, in row order."""
    array = np.ascontiguousarray(x.detach().cpu().numpy()).reshape(-1)
    return array.view(f"u{array.itemsize}").astype(np.uint64)


def difference(what: str, got: Tensor, expected: Bits) -> str | None:
    """The first element whose bits differ, in words."""
    found, width = patterns(got), got.element_size() * 2
    wrong = np.flatnonzero(found != expected)
    if not wrong.size:
        return None
    i = int(wrong[0])
    return (
        f"{what}, element {i}: expected 0x{int(expected[i]):0{width}x}, got 0x{int(found[i]):0{width}x}"
        f" ({wrong.size} of {found.size} differ)"
    )


def _columns(rows: vectors.Rows) -> list[list[int]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _repeated(column: Sequence[int]) -> Bits:
    return np.tile(np.array(column, dtype=np.uint64), _REPEATS)


def _operations(rows: vectors.Rows, width: int) -> Callable[[torch.device], str | None]:
    def check(device: torch.device) -> str | None:
        a, b, *answers = _columns(rows)
        x, y = floats(a, width, device), floats(b, width, device)
        results = {
            "a + b": (x + y, answers[0]),
            "a - (-b)": (x - -y, answers[0]),
            "a * b": (x * y, answers[1]),
            "a / b": (x / y, answers[2]),
        }
        found = (difference(what, got, _repeated(answer)) for what, (got, answer) in results.items())
        return next((words for words in found if words), None)

    return check


def _two_roundings(device: torch.device) -> str | None:
    for width, rows in ((64, vectors.TWO_ROUNDINGS_64), (32, vectors.TWO_ROUNDINGS_32)):
        a, b, c, answer = _columns(rows)
        x, y, z = (floats(column, width, device) for column in (a, b, c))
        if words := difference(f"float{width} a * b, then + c", torch.mul(x, y).add_(z), _repeated(answer)):
            return words
    return None


def _square_roots(device: torch.device) -> str | None:
    x, answer = _columns(vectors.SQUARE_ROOTS_64)
    if words := difference("float64 square root", functions.sqrt(floats(x, 64, device)), _repeated(answer)):
        return words
    x, answer = _columns(vectors.SQUARE_ROOTS_32)
    root = functions.sqrt(floats(x, 32, device).to(torch.float64)).to(torch.float32)
    return difference("float32 square root", root, _repeated(answer))


def _conversions(device: torch.device) -> str | None:
    wide, narrow = _columns(vectors.ROUNDED)
    singles = floats(narrow, 32, device)
    if words := difference("float64 to float32", floats(wide, 64, device).to(torch.float32), _repeated(narrow)):
        return words
    if words := difference("float32 to float64 and back", singles.double().float(), _repeated(narrow)):
        return words
    whole, answer = _columns(vectors.INTEGERS)
    integers = torch.tensor(whole * _REPEATS, dtype=torch.int64).to(device)
    if words := difference("int64 to float64", integers.to(torch.float64), _repeated(answer)):
        return words
    small = torch.arange(-(1 << 12), 1 << 12, device=device) * ((1 << 40) + 1)
    return difference("float64 to int64", small.to(torch.float64).to(torch.int64), patterns(small))


def _denormals(device: torch.device) -> str | None:
    found: list[str | None] = []

    def look(where: str) -> None:
        for dtype, kept in ((torch.float32, 3 * 2.0**-149), (torch.float64, 3 * 2.0**-1074)):
            count = _SLICE * max(2, torch.get_num_threads()) + 1 if device.type == "cpu" else _SLICE
            x = _bit_filled(3, count, dtype, device)
            found.append(difference(f"{dtype} {kept:.3g} * 2 in {where}", x.mul_(2.0), np.full(count, 6, np.uint64)))

    look("this thread or one of torch's")
    other = threading.Thread(target=look, args=("a new thread",))
    other.start()
    other.join()
    return next((words for words in found if words), None)


def _bit_filled(pattern: int, count: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    integer = torch.int32 if dtype == torch.float32 else torch.int64
    return torch.full((count,), pattern, dtype=integer, device=device).view(dtype)


def _non_finite(device: torch.device) -> str | None:
    for dtype in _FLOATS.values():
        for bad in (float("nan"), float("inf"), -float("inf")):
            for place in (0, 70, 127):
                x = torch.ones((3, 128), dtype=dtype, device=device)
                x[1, place] = bad
                top = x.abs().amax((1,), keepdim=True)
                if top.max().item() < 2.0**400 or top[0].item() != 1.0:
                    return f"the largest magnitude of {dtype} hides {bad} at place {place}"
    return None


def _integers(device: torch.device) -> str | None:
    words = [1, 0x7FF << 52, -1, -(1 << 62), 0x3FE6A09E667F3BCD, -0x123456789ABCDEF]
    x = torch.tensor(words * _REPEATS, dtype=torch.int64).to(device)
    for shift in (1, 29, 52, 63):
        for what, got, answer in (
            (f"int64 << {shift}", x << shift, [word << shift for word in words]),
            (f"int64 >> {shift}", x >> shift, [word >> shift for word in words]),
            (f"int64 & ~0 << {shift}", x & (-1 << shift), [word & (-1 << shift) for word in words]),
        ):
            if found := difference(what, got, _repeated([value % 2**64 for value in answer])):
                return found
    sums = x.add(x).sum().item(), sum(2 * word for word in words) * _REPEATS
    if (sums[0] - sums[1]) % 2**64:
        return f"an int64 sum: expected {sums[1] % 2**64:#x} modulo 2^64, got {sums[0] % 2**64:#x}"
    return difference("int64 viewed as float64, + 0, viewed back", _through_float(device), _repeated([0x3FF << 52, 5]))


def _through_float(device: torch.device) -> Tensor:
    x = torch.tensor([0x3FF << 52, 5] * _REPEATS, dtype=torch.int64).to(device)
    return x.view(torch.float64).add(0.0).view(torch.int64)


def _cipher(_device: torch.device) -> str | None:
    for counter, key, output in vectors.PHILOX:
        block = np.array([[int(word, 16)] for word in counter.split()], dtype=np.uint64)
        first, second = (int(word, 16) for word in key.split())
        got = " ".join(f"{int(word):08x}" for word in philox(block, (first, second))[:, 0])
        if got != output:
            return f"Philox4x32-10 of {counter}: expected {output}, got {got}"
    return None


_REDUCED = "a fast-math build, TF32 or an unfit device computes here; use a build of torch with IEEE arithmetic"
_FLUSHED = (
    "something has denormals flushed to zero: call torch.set_flush_denormal(False), and look for a library that was"
    " built with -ffast-math"
)

ELEMENTARY: tuple[Fact, ...] = (
    Fact(
        "denormal numbers",
        "numbers below the normal range are kept, in torch's own threads and in new ones",
        _FLUSHED,
        _denormals,
    ),
    Fact(
        "float64 operations",
        "+, -, * and / round to the nearest double, ties to even",
        _REDUCED,
        _operations(vectors.OPERATIONS_64, 64),
    ),
    Fact(
        "float32 operations",
        "+, -, * and / round to the nearest float32, ties to even",
        _REDUCED,
        _operations(vectors.OPERATIONS_32, 32),
    ),
    Fact(
        "two roundings", "a product that is then added to is rounded first: nothing is fused", _REDUCED, _two_roundings
    ),
    Fact(
        "conversions",
        "float64 to float32 and int64 to float64 round to nearest, ties to even; the ways back are exact",
        _REDUCED,
        _conversions,
    ),
    Fact("square roots", "our square root is correctly rounded in both precisions", _REDUCED, _square_roots),
    Fact(
        "integers and views",
        "int64 shifts, masks and sums wrap at 2^64, and a view of the bits changes none",
        "this build of torch cannot be used; install another",
        _integers,
    ),
    Fact(
        "infinity and NaN",
        "the largest magnitude of a slice shows any that it holds, so that they are refused",
        "this build of torch cannot be used; install another",
        _non_finite,
    ),
    Fact(
        "random numbers",
        "Philox4x32-10 gives the published words",
        "this build of NumPy cannot be used; install another",
        _cipher,
    ),
)
"""From the likeliest cause of other faults on."""
