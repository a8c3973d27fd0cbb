"""The yardstick: reproducible products by a fixed order of summation, as RepDL takes them on a CPU.

Each element of the result is one chain of rounded float32 additions over k in ascending order. What is reproducible so
cannot use a BLAS. Compiled by numba, rows shared out among as many threads as torch has; the right operand is handed
over transposed, which spares the chain its cache misses. (RepDL's own product was measured 77 to 480 times slower than
torch's, on one thread.) The second form computes the same bits with the loops over k and the columns exchanged, so that
the compiler may work on several columns at a time: what a careful author would make of that order.
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

    chain, columns = (numba.njit(nogil=True, fastmath=False)(f) for f in (_chain, _columns))
    given = Setting(torch.float32, torch.device("cpu"))
    a, b = given.normal("0", n, n), given.normal("1", n, n)
    return {
        "one chain per element": _shared(chain, a, b.t().contiguous(), threads),
        "the same order, columns side by side": _shared(columns, a, b, threads),
    }


def _chain(a: Matrix, b: Matrix, out: Matrix) -> None:
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            total = a[i, 0] * b[j, 0]
            for k in range(1, a.shape[1]):
                total += a[i, k] * b[j, k]
            out[i, j] = total


def _columns(a: Matrix, b: Matrix, out: Matrix) -> None:
    for i in range(out.shape[0]):
        row = out[i]
        for j in range(row.shape[0]):
            row[j] = a[i, 0] * b[0, j]
        for k in range(1, a.shape[1]):
            factor, line = a[i, k], b[k]
            for j in range(row.shape[0]):
                row[j] += factor * line[j]


def _shared(kernel: Callable[..., None], a: torch.Tensor, b: torch.Tensor, threads: int) -> Product:
    pool = ThreadPoolExecutor(threads)
    out = torch.empty(a.shape[0], b.shape[0])
    cuts = [a.shape[0] * i // threads for i in range(threads + 1)]

    def run() -> torch.Tensor:
        parts = [slice(cuts[i], cuts[i + 1]) for i in range(threads)]
        list(pool.map(lambda part: kernel(a.numpy()[part], b.numpy(), out.numpy()[part]), parts))
        return out

    return run
