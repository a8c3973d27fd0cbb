"""The stiff directions of the training loss, and points spread evenly over the local Gaussian in them.

All linear algebra here is products, sums and divisions of exact arithmetic: the sizes are small enough that plain
elimination in float64 is no cost.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import vjp, vmap

from validator.exact.random import Stream
from validator.influence.curvature import GaussNewton, dots, flatten
from validator.influence.problem import Problem, spread
from validator.influence.records import Records

BLOCK = 64
"""Rows that join the Krylov basis at a time; part of the estimator."""

ROWS = 512
"""Anchor records that a pass takes at a time: sums over them are added in float64, so the cut is part of the estimator.
"""

_PRODUCTS = 16
"""Rows that meet the anchor at a time; bounds memory, changes no bit."""

_LEAST_PIVOT = 2.0**-40
"""Of a unit row, what must be left beyond its predecessors; less is rounding, and the row is kept short instead of
blown up."""


def conjugate_rows(curvature: GaussNewton, damping: Tensor, count: int, start: Tensor) -> Tensor:
    """`count` directions D, float32 (count, parameters), that the damped curvature `A = G + damping` makes orthonormal:
    `D A D' = 1`.

    They span a block Krylov space of G (Golub & Underwood 1977) from the rows of `start`, which holds the stiffest
    directions first, so `D' D` is `A^-1` restricted to where the data speak: the covariance of the local Gaussian
    there.
    """
    basis, images = krylov(curvature, count, start)
    exactly = basis.to(torch.float64)
    gram = exactly @ images.to(torch.float64).T
    gram = (gram + gram.T) / 2 + exactly @ exactly.T * damping.to(torch.float64)
    return (inverse_factor(gram) @ exactly).to(torch.float32)


def signed_gradients(problem: Problem, count: int, stream: Stream) -> Tensor:
    """Gradients of the anchor's losses at theta, summed with random signs `count` times: float32 (count, parameters).

    Where they point, losses of records change together: a better start than directions of no meaning.
    """
    signs = stream.rademacher((count, len(problem.anchor)))
    total = torch.zeros(count, sum(w.numel() for w in problem.network.weights().values()), dtype=torch.float64)
    for first in range(0, len(problem.anchor), ROWS):
        rows = torch.arange(first, min(first + ROWS, len(problem.anchor)))
        total = total + _signed_sums(problem, problem.anchor.select(rows), signs[:, rows])
    return (total / len(problem.anchor)).to(torch.float32)


def _signed_sums(problem: Problem, records: Records, signs: Tensor) -> Tensor:
    network = problem.network
    logits, pull = vjp(lambda weights: network.logits(weights, records.inputs), network.weights())[:2]
    slope, found = problem.training().slope(logits, records.targets), []
    for first in range(0, len(signs), _PRODUCTS):
        (pulled,) = vmap(pull)(spread(signs[first : first + _PRODUCTS], slope.unsqueeze(0)) * slope)
        found.append(flatten(pulled))
    return torch.cat(found)


def krylov(curvature: GaussNewton, count: int, start: Tensor) -> tuple[Tensor, Tensor]:
    """Orthonormal rows V, float32 (count, parameters), of `x, G x, G^2 x, ...` for the rows x of `start`, and `V G`."""
    basis, images = torch.empty(0, start.shape[1]), torch.empty(0, start.shape[1])
    rows = start[:count]
    while True:
        # Twice, because one subtraction leaves what float32 rounds (Giraud & Langou 2005).
        for _ in range(2):
            rows = orthonormal(rows - (rows @ basis.T) @ basis) if len(basis) else orthonormal(rows)
        basis = torch.cat([basis, rows])
        image = _images(curvature, rows)
        images = torch.cat([images, image])
        if len(basis) == count:
            return basis, images
        rows = image[: count - len(basis)]


def orthonormal(rows: Tensor) -> Tensor:
    """Rows of the same span, orthonormal: the triangular factor of their Gram matrix, solved for. Dtype as given.

    A row of zeros stays zero.
    """
    exactly = rows.to(torch.float64)
    for _ in range(2):
        lengths = torch.sqrt(dots(exactly, exactly))
        exactly = exactly / torch.where(lengths > 0, lengths, 1.0)
        exactly = inverse_factor(exactly @ exactly.T) @ exactly
    return exactly.to(rows.dtype)


def inverse_factor(matrix: Tensor) -> Tensor:
    """`L^-1` float64 for `matrix = L L'`, symmetric positive definite (k, k), by elimination of its rows.

    A pivot lost in rounding is taken as 2^-40 of its diagonal entry.
    """
    left, right = matrix, torch.eye(len(matrix), dtype=torch.float64)
    least = torch.diagonal(matrix).clamp(min=torch.finfo(torch.float32).tiny) * _LEAST_PIVOT
    found = []
    for row in range(len(matrix)):
        pivot = torch.maximum(left[0, 0], least[row])
        found.append(right[0] / torch.sqrt(pivot))
        factor = left[1:, :1] / pivot
        left, right = left[1:, 1:] - factor * left[:1, 1:], right[1:] - factor * right[:1]
    return torch.stack(found)


def spread_points(count: int, rank: int, stream: Stream) -> Tensor:
    """Points of a standard normal, float64 (count, rank), spread evenly: random rotations of an orthogonal frame, one
    frame after the other, each point at the distance sqrt(rank).

    Any `rank` of them in a frame have exactly the covariance of the normal, each alone is uniform on its typical
    sphere (orthogonal draws: Yu et al. 2016; stochastic spherical cubature: Genz & Monahan 1998).
    """
    frames = [orthonormal(stream.normal((rank, rank)).to(torch.float64)) for _ in range(-(-count // rank))]
    length = torch.sqrt(torch.tensor(float(rank), dtype=torch.float64))
    return torch.cat(frames)[:count] * length


def _images(curvature: GaussNewton, rows: Tensor) -> Tensor:
    return torch.cat([curvature.product(rows[start : start + _PRODUCTS]) for start in range(0, len(rows), _PRODUCTS)])
