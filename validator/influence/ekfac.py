"""EK-FAC: curvature as one Kronecker product a layer, in the basis where it is nearly diagonal (George et al. 2018;
Grosse et al. 2023, 3.1 and 3.2).

For a layer with inputs `a` (a 1 appended for the bias) and slopes `s` of the loss in its outputs, Gauss-Newton's block
is the mean of `(s a') (x) (s a')`. Its basis is taken from the two factors, E[s s'] and E[a a'], and its eigenvalues
are what the block really is on that basis: the mean square of the record's gradient, rotated. The labels are drawn from
the model, not the data: that is Gauss-Newton, and not the empirical Fisher matrix.

- nn.Linear and nn.Conv2d (ungrouped, padded with zeros) that are called once a pass and share no weight: as above, a
  convolution being a linear layer on patches. Positions of a sequence or an image add up within a record.
- all other parameters (embeddings, norms, tied weights, layers called twice): the diagonal of the matrix.

It is an estimator of its own, `ekfac`, and it conditions the conjugate gradients of `classical`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import vjp, vmap

from validator.exact.random import Stream
from validator.influence.curvature import flatten, row_blocks, unflatten
from validator.influence.jacobi import eigenvectors
from validator.influence.layers import Layer, Taps, find_layers
from validator.influence.problem import Problem, Weights, one_hot
from validator.influence.records import Records

MOST_CLASSES = 64
"""Up to here the expectation over the labels is taken class by class, for records of one target."""
WIDEST = 512
"""Factors that are wider are cut into equal diagonal blocks, as Grosse et al. do: rotations cost their third power."""
_TOGETHER = 16
"""Records whose own gradients are held at once. Sums over them are rounded, so the number is part of the arithmetic."""


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Curvature of one layer: bases float32 (outputs, outputs) and (inputs, inputs), eigenvalues float32 (outputs,
    inputs).
    """

    layer: Layer
    left: Tensor
    right: Tensor
    values: Tensor

    def solve(self, gradients: Tensor, damping: Tensor) -> Tensor:
        """(batch, outputs, inputs) by the damped inverse."""
        turned = _turn(_turn(gradients, self.right).mT, self.left)
        scaled = turned / (self.values.T + damping)
        return _turn(_turn(scaled, self.left.T).mT, self.right.T)


class Kronecker:
    """EK-FAC of the anchor's mean cross-entropy at the problem's weights."""

    def __init__(self, problem: Problem, seed: bytes, draws: int, rows: int) -> None:
        self._problem, self._seed, self._draws, self._rows = problem, seed, draws, rows
        self._weights = problem.network.weights()
        self._module = problem.network.module()
        self._layers = find_layers(self._module, problem.anchor.inputs[:1])
        inside = {name for layer in self._layers for name in layer.names()}
        self._others = {name: w for name, w in self._weights.items() if name not in inside}
        self.blocks = self._values(self._bases())
        self.diagonal = self._diagonal() if self._others else {}

    def solve(self, right: Tensor, damping: Tensor | None = None, relative: float = 0.0) -> Tensor:
        """`(K + damping)^-1` of each row of `right` (batch, parameters); without `damping`, `relative` times the mean
        eigenvalue of each layer.
        """
        given = unflatten(right, self._weights)
        found: Weights = {}
        for block in self.blocks:
            own = _mean(block.values) * relative if damping is None else damping
            found |= block.layer.split(block.solve(block.layer.join(given), own))
        for name, values in self.diagonal.items():
            own = _mean(values) * relative if damping is None else damping
            found[name] = given[name] / (values + own)
        return flatten({name: found[name] for name in self._weights})

    def bases(self) -> list[Tensor]:
        """The tensors that every solution multiplies with, to be frozen."""
        return [side for block in self.blocks for side in (block.left, block.right)]

    def _bases(self) -> list[tuple[Tensor, Tensor]]:
        sums: list[tuple[Tensor, Tensor]] = [
            (_zeros(layer.outputs, layer.outputs), _zeros(layer.inputs, layer.inputs)) for layer in self._layers
        ]
        for inputs, slopes, first in self._passes():
            for (left, right), a, s in zip(sums, inputs, slopes, strict=True):
                left.add_(s.flatten(0, 1).T @ s.flatten(0, 1))
                if first:
                    right.add_(a.flatten(0, 1).T @ a.flatten(0, 1))
        return [(basis(left), basis(right)) for left, right in sums]

    def _values(self, bases: list[tuple[Tensor, Tensor]]) -> list[Block]:
        sums = [_zeros(layer.outputs, layer.inputs) for layer in self._layers]
        for inputs, slopes, _ in self._passes():
            for total, (left, right), a, s in zip(sums, bases, inputs, slopes, strict=True):
                _add_squares(total, _turn(s, left), _turn(a, right))
        count = len(self._problem.anchor)
        return [
            Block(layer, left, right, (total / count).to(torch.float32))
            for layer, (left, right), total in zip(self._layers, bases, sums, strict=True)
        ]

    def _diagonal(self) -> Weights:
        """Mean square of each record's gradient in the parameters outside the layers."""
        network, sums = self._problem.network, {name: torch.zeros_like(w) for name, w in self._others.items()}
        fixed = {name: w for name, w in self._weights.items() if name not in self._others}

        def gradient(x: Tensor, cotangent: Tensor) -> Weights:
            pull = vjp(lambda some: network.logits(fixed | some, x.unsqueeze(0)), self._others)[1]
            found: Weights = pull(cotangent.unsqueeze(0))[0]
            return found

        stream = self._labels()
        for few in row_blocks(self._problem.anchor, _TOGETHER):
            logits = network.logits(self._weights, few.inputs)
            for cotangent in self._cotangents(logits, few, stream):
                for name, slopes in vmap(gradient)(few.inputs, cotangent).items():
                    sums[name] = sums[name] + (slopes * slopes).sum(0) / len(self._problem.anchor)
        return sums

    def _passes(self) -> Iterator[tuple[list[Tensor], list[Tensor], bool]]:
        """Inputs (n, positions, inputs) and slopes (n, positions, outputs) of each layer, block of the anchor by block,
        one label after the other; and whether it is the block's first label.
        """
        if not self._layers:
            return
        stream = self._labels()
        for few in row_blocks(self._problem.anchor, self._rows):
            with Taps(self._module, self._layers) as taps, torch.enable_grad():
                logits = self._module(few.inputs)
            inputs = [layer.patches(taps.inputs[layer.name], len(few)) for layer in self._layers]
            outputs = [taps.outputs[layer.name] for layer in self._layers]
            for number, cotangent in enumerate(self._cotangents(logits.detach(), few, stream)):
                found = torch.autograd.grad(logits, outputs, cotangent, retain_graph=True, materialize_grads=True)
                slopes = [layer.positions(s, len(few)) for layer, s in zip(self._layers, found, strict=True)]
                yield inputs, slopes, number == 0

    def _labels(self) -> Stream:
        """A stream of its own for every pass: all see the same draws."""
        return Stream(self._seed, "curvature/labels")

    def _cotangents(self, logits: Tensor, records: Records, stream: Stream) -> Iterator[Tensor]:
        """Slopes of the loss in the logits whose outer products sum, or average, to Gauss-Newton's middle matrix."""
        p, share = torch.softmax(logits, -1), self._problem.training().share(records.targets)
        classes = p.shape[-1]
        if self._draws == 0 and p.dim() == 2 and classes <= MOST_CLASSES:
            for label in range(classes):
                labels = torch.full_like(records.targets, label)
                yield (p - one_hot(labels, p)) * torch.sqrt(p[:, label]).unsqueeze(1)
            return
        count = max(1, self._draws)
        for _ in range(count):
            level = stream.uniform(p.shape[:-1]).unsqueeze(-1)
            labels = (torch.cumsum(p, -1) <= level).sum(-1).clamp(max=classes - 1)
            yield (p - one_hot(labels, p)) * torch.sqrt(share / count).unsqueeze(-1)


def basis(factor: Tensor) -> Tensor:
    """Orthonormal columns float32 that make `factor`, float64 (n, n), diagonal, or its blocks where it is too wide."""
    count = -(-factor.shape[0] // WIDEST)
    cuts = [factor.shape[0] * i // count for i in range(count + 1)]
    found = torch.zeros_like(factor)
    for start, end in itertools.pairwise(cuts):
        found[start:end, start:end] = eigenvectors(factor[start:end, start:end])
    return found.to(torch.float32)


def _turn(x: Tensor, by: Tensor) -> Tensor:
    """(..., m, n) @ (n, n) as one product."""
    return (x.flatten(0, -2) @ by).view(x.shape)


def _add_squares(total: Tensor, slopes: Tensor, inputs: Tensor) -> None:
    """Add to float64 (outputs, inputs) the squares of each record's gradient, the sum over positions of s a'."""
    if slopes.shape[1] == 1:
        s, a = slopes.squeeze(1), inputs.squeeze(1)
        total.add_((s * s).T @ (a * a))
        return
    for start in range(0, len(slopes), _TOGETHER):
        gradient = slopes[start : start + _TOGETHER].mT @ inputs[start : start + _TOGETHER]
        total.add_((gradient * gradient).sum(0))


def _mean(values: Tensor) -> Tensor:
    return values.mean()


def _zeros(rows: int, columns: int) -> Tensor:
    return torch.zeros(rows, columns, dtype=torch.float64)
