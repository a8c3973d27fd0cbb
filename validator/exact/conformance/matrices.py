"""Products of integers in float64 must be exact up to the bound that products.py relies on, whatever the BLAS does.

Operands hold up to b = operand_bits(k) bits, some rows and columns at the very bound, so that partial sums reach 2^53.
A float64 product that is emulated with fewer bits, or that goes through TF32, fails here. A whole product is compared
by its image of odd random integers modulo 2^64, which costs n^2: C r = A (B r). Only a row that differs is computed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from validator.exact import exact
from validator.exact.conformance.elementary import difference, patterns
from validator.exact.conformance.report import Fact
from validator.exact.products import operand_bits, product
from validator.exact.random import Stream
from validator.exact.residues import DEEPEST, multiply, prepare

Integers = NDArray[np.int64]

_DEPTHS = (64, 128, 256, 512, 1024)
_ON_CPU, _ON_DEVICE = (70, 90), (1024, 2048)
"""Rows and columns: enough for a BLAS to cut a product into blocks, and for a GPU to choose its large kernels."""


def integers(name: str, shape: tuple[int, int], bits: int, along: int) -> Integers:
    """Random integers of at most 2^bits; the first three slices of dimension `along` are at the bound."""
    draws = Stream(b"conformance", name).integers(2 ** (bits + 1) + 1, shape).numpy() - (1 << bits)
    view = draws if along == 0 else draws.T
    view[0], view[1] = 1 << bits, -1 << bits
    view[2] = np.where(np.arange(view.shape[1]) % 2, 1 << bits, -1 << bits)
    return draws


def wrong_element(a: Integers, b: Integers, got: Integers) -> str | None:
    """The first element of `got` that is not that of the integer product a @ b, in words."""
    r = (Stream(b"conformance", "odd").integers(2**32, (b.shape[1],)).numpy() << 1) | 1
    with np.errstate(over="ignore"):
        wrong = np.flatnonzero(got @ r != a @ (b @ r))  # modulo 2^64
    if not wrong.size:
        return None
    row = int(wrong[0])
    expected = a[row] @ b
    column = int(np.flatnonzero(expected != got[row])[0])
    return f"element ({row}, {column}): expected {expected[column]}, got {got[row, column]}"


@contextmanager
def threads(count: int) -> Iterator[None]:
    """torch's thread count for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def thread_counts(device: torch.device) -> list[int]:
    """The current one and the powers of two below it; a GPU has no such choice."""
    now = torch.get_num_threads() if device.type == "cpu" else 1
    return sorted({now, *(1 << i for i in range(now.bit_length()))})


def _exact_integers(device: torch.device) -> str | None:
    m, n = _ON_CPU if device.type == "cpu" else _ON_DEVICE
    for k in _DEPTHS:
        bits = operand_bits(k)
        a, b = integers(f"left {k}", (m, k), bits, 0), integers(f"right {k}", (k, n), bits, 1)
        x, y = (torch.from_numpy(v.astype(np.float64)).to(device) for v in (a, b))
        for count in thread_counts(device):
            with threads(count):
                for layout, got in _layouts(x, y):
                    if words := wrong_element(a[: got.shape[0]], b, _whole(got)):
                        return f"float64 product of {bits}-bit integers, k = {k}, {layout}, {count} threads, {words}"
    return None


def _layouts(x: Tensor, y: Tensor) -> Iterator[tuple[str, Tensor]]:
    across, down = x.t().contiguous().t(), y.t().contiguous().t()
    yield "plain", torch.mm(x, y)
    yield "left transposed", torch.mm(across, y)
    yield "right transposed", torch.mm(x, down)
    yield "both transposed", torch.mm(across, down)
    yield "batched", torch.bmm(x[None], y[None])[0]
    yield "one row", torch.mm(x[:1], y)


def _whole(x: Tensor) -> Integers:
    """Float64 as int64; what is no integer below 2^62 becomes one that no product gives."""
    values = x.cpu().numpy()
    sound = np.isfinite(values) & (np.abs(values) < 2.0**62) & (np.trunc(values) == values)
    return np.where(sound, values, 2.0**62).astype(np.int64)


def _signed_zeros(device: torch.device) -> str | None:
    for rows, depth, columns in ((1, 1, 1), (40, 1, 40), (40, 3, 33), (1, 64, 5)):
        a = -torch.ones((rows, depth), device=device)
        b = torch.zeros((depth, columns), device=device)
        with exact():
            got = torch.mm(a, b)
        if int(got.view(torch.int32).abs().max().item()) != 0:
            return f"-1 times +0 in a product of {rows} x {depth} x {columns} leaves the sign of its zero"
    return None


def _int8(device: torch.device) -> str | None:
    m, k, n, bits = 70, DEEPEST, 96, operand_bits(DEEPEST)
    a, b = integers("left int8", (m, k), 6, 0), integers("right int8", (k, n), 6, 1)
    try:
        sums = torch._int_mm(*(torch.from_numpy(v.astype(np.int8)).to(device) for v in (a, b)))
    except RuntimeError:
        return None  # torch has no int8 product for this device, so the engine is not used
    if words := wrong_element(a, b, sums.cpu().numpy().astype(np.int64)):
        return f"int8 product of integers up to 64, k = {k}, {words}"
    stream = Stream(b"conformance", "residues")
    for depth in (k, 2 * k):
        x, y = stream.normal((m, depth)).to(device), stream.normal((depth, n)).to(device)
        left, right = prepare(x, -1, bits, "self-test"), prepare(y, -2, bits, "self-test")
        expected = product(x, y, "self-test")
        for dtype in (torch.float64, torch.float32):
            found = multiply(left, right, False, DEEPEST, dtype).add_(0.0)
            if words := difference(f"{dtype} product by residues", found, patterns(expected.to(dtype).add_(0.0))):
                return words
    return None


MATRICES: tuple[Fact, ...] = (
    Fact(
        "matrix products",
        "float64 products of integers are exact up to 2^53, k = 64 to 1024, in all layouts and thread counts at hand",
        "the BLAS of this device does not compute float64 products in float64: turn emulated FP64 off"
        " (CUBLAS_EMULATE_DOUBLE_PRECISION=0) or use another build of torch",
        _exact_integers,
    ),
    Fact(
        "zeros of products",
        "a product that is zero is +0, whichever sign the BLAS gives it",
        "this build of torch cannot be used; install another",
        _signed_zeros,
    ),
    Fact(
        "int8 products",
        "int8 products of integers up to 64 have exact int32 sums, and give the bits of float64 products",
        "the int8 product of this device saturates or is wrong: use another build of torch",
        _int8,
    ),
)
