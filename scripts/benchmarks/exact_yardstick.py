"""The yardstick: reproducible products by a fixed order of summation, as RepDL takes them on a CPU.

Each element of the result is one chain of fused multiply-adds over k in ascending order (RepDL: std::fmaf), so no BLAS
can be used. Compiled by numba, rows shared out among as many threads as torch has. Three forms with the same bits: the
loops of RepDL on the operands as they are; the same with the right operand handed over transposed, which spares the
chain its cache misses; and with the loops over k and the columns exchanged, so that the compiler may work on several
columns at a time: what a careful author would make of that order. (RepDL itself was measured 77 to 480 times slower
than torch, on one thread.)
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from exact_cases import Setting
from numpy.typing import NDArray

Product = Callable[[], torch.Tensor]
Matrix = NDArray[np.float32]


def products(n: int, threads: int) -> dict[str, Product]:
    """(n, n) @ (n, n), element by element and by columns at a time. Raises ModuleNotFoundError without numba."""
    import numba  # here, for a GPU machine may lack it

    fma = _fused_multiply_add()
    chain, columns = (numba.njit(nogil=True, fastmath=False)(make(fma)) for make in (_chain, _columns))
    given = Setting(torch.float32, torch.device("cpu"))
    a, b = given.normal("0", n, n), given.normal("1", n, n)
    return {
        "one chain per element": _shared(chain, a, b.t(), threads),
        "one chain per element, right operand transposed before": _shared(chain, a, b.t().contiguous(), threads),
        "the same order, columns side by side": _shared(columns, a, b, threads),
    }


def _fused_multiply_add() -> Callable[[float, float, float], float]:
    from numba.extending import intrinsic

    @intrinsic
    def fma(typing, x, y, z):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202  (numba's types and instructions)
        return x(x, y, z), lambda context, builder, signature, args: builder.fma(*args)

    return fma  # type: ignore[no-any-return]


def _chain(fma: Callable[[float, float, float], float]) -> Callable[[Matrix, Matrix, Matrix], None]:
    def run(a: Matrix, b: Matrix, out: Matrix) -> None:
        for i in range(out.shape[0]):
            for j in range(out.shape[1]):
                total = np.float32(0.0)
                for k in range(a.shape[1]):
                    total = fma(a[i, k], b[j, k], total)
                out[i, j] = total

    return run


def _columns(fma: Callable[[float, float, float], float]) -> Callable[[Matrix, Matrix, Matrix], None]:
    def run(a: Matrix, b: Matrix, out: Matrix) -> None:
        for i in range(out.shape[0]):
            row = out[i]
            row[:] = np.float32(0.0)
            for k in range(a.shape[1]):
                factor, line = a[i, k], b[k]
                for j in range(row.shape[0]):
                    row[j] = fma(factor, line[j], row[j])

    return run


def _shared(kernel: Callable[..., None], a: torch.Tensor, b: torch.Tensor, threads: int) -> Product:
    pool = ThreadPoolExecutor(threads)
    out = torch.empty(a.shape[0], b.shape[0])
    cuts = [a.shape[0] * i // threads for i in range(threads + 1)]

    def run() -> torch.Tensor:
        parts = [slice(cuts[i], cuts[i + 1]) for i in range(threads)]
        list(pool.map(lambda part: kernel(a.numpy()[part], b.numpy(), out.numpy()[part]), parts))
        return out

    return run
