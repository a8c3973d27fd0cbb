"""Eigenvectors by a fixed sequence of correctly rounded operations: torch.linalg.eigh has other bits with every LAPACK.

Cyclic Jacobi (Golub & Van Loan, Matrix Computations, 8.5) in the round-robin order: a sweep of n indices is n - 1
rounds of n / 2 rotations of disjoint pairs, so that a round is a few elementwise operations on the whole matrix. The
indices are moved like players of a tournament: index i of the first half always meets index i of the second. The number
of sweeps is fixed: no bit decides how long to run.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.utils._python_dispatch import _disable_current_modes

from validator.exact import functions

SWEEPS = 7
"""Convergence is quadratic at the end: for 128 indices six sweeps leave 3e-9 of the matrix off the diagonal, seven
nothing."""


def eigenvectors(matrix: Tensor, sweeps: int = SWEEPS) -> Tensor:
    """Columns float64 (n, n), orthonormal, that make the symmetric `matrix`, float64 (n, n), diagonal; in no particular
    order.

    Too few sweeps only leave the matrix a little less diagonal: the basis is orthonormal to rounding all the same.
    """
    size = matrix.shape[0]
    # An odd one out meets an index of zeros, with which there is nothing to rotate.
    even = max(2, size + size % 2)
    rows = pad(matrix, (0, even - size, 0, even - size))
    basis = torch.eye(even, dtype=torch.float64)
    # Single rounded operations are exact as they stand: a mode that is on would only look each of them up.
    with _disable_current_modes():
        for _ in range(sweeps * (even - 1)):
            cosine, sine = _rotations(rows)
            both = _seated(_rotated(torch.cat([rows, basis], 1), cosine.unsqueeze(1), sine.unsqueeze(1), 0), 0)
            rows, basis = both[:, :even], both[:, even:]
            rows = _seated(_rotated(rows, cosine, sine, 1), 1)
    # Whole sweeps bring everyone back to the own seat.
    return basis[:size, :size].T.contiguous()


def _rotations(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine (n / 2,) of the smaller rotation that makes the entry between i and n / 2 + i vanish."""
    half = matrix.shape[0] // 2
    own, entry = matrix.diagonal(), matrix.diagonal(half)
    meets = entry != 0
    ratio = (own[half:] - own[:half]) / torch.where(meets, entry * 2, 1.0)
    size = ratio.abs()
    tangent = 1 / (functions.sqrt(size * size + 1) + size)
    tangent = torch.where(ratio < 0, -tangent, tangent)
    cosine = 1 / functions.sqrt(tangent * tangent + 1)
    return torch.where(meets, cosine, 1.0), torch.where(meets, tangent * cosine, 0.0)


def _rotated(x: Tensor, cosine: Tensor, sine: Tensor, dim: int) -> Tensor:
    first, second = x.chunk(2, dim)
    return torch.cat([first * cosine - second * sine, first * sine + second * cosine], dim)


def _seated(x: Tensor, dim: int) -> Tensor:
    """The next round of the tournament: the first index keeps its seat, the others move on by one around the table."""
    half = x.shape[dim] // 2
    first, top, bottom = x.narrow(dim, 0, 1), x.narrow(dim, 1, half - 1), x.narrow(dim, half, half)
    if half == 1:
        return x
    arrives, rest = bottom.narrow(dim, 0, 1), bottom.narrow(dim, 1, half - 1)
    return torch.cat([first, arrives, top.narrow(dim, 0, half - 2), rest, top.narrow(dim, half - 2, 1)], dim)
