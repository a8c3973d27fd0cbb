"""What estimates are measured beside: influence with the dense Gauss-Newton matrix, and plain gradient products.

Both in float64, written for clarity. For a network of linear layers the matrix is solved in the space of the
records' outputs (Woodbury): with J the Jacobian of all logits and S the root of the softmax's Hessian, `(J'S S'J / n +
damping)^-1` needs only the kernel `S'J J'S`, and `J J'` is a sum over layers of products of inner products.
"""

from __future__ import annotations

import torch
from influence_worker import Given, Score, main, network
from torch import Tensor, nn

Layer = tuple[Tensor, Tensor]
"""A linear layer's inputs (n, in + 1), the last being 1, and the slopes of each logit in its outputs (n, classes,
out).
"""


def layers(given: Given, inputs: Tensor) -> tuple[Tensor, list[Layer]]:
    """Logits (n, classes) and every linear layer's inputs and slopes, float64."""
    module = network(given.state).double()
    taken: list[tuple[Tensor, Tensor]] = []
    for layer in module:
        if isinstance(layer, nn.Linear):
            layer.register_forward_hook(lambda _, args, output: taken.append((args[0], output)))
    logits = module(inputs.double())
    found = []
    for entered, left in taken:
        slopes = [torch.autograd.grad(logits[:, c].sum(), left, retain_graph=True)[0] for c in range(logits.shape[1])]
        ones = torch.ones(len(entered), 1, dtype=torch.float64)
        found.append((torch.cat([entered.detach(), ones], 1), torch.stack(slopes, 1)))
    return logits.detach(), found


def kernel(left: list[Layer], right: list[Layer]) -> Tensor:
    """`J J'`, (n classes, m classes)."""
    total = torch.zeros((), dtype=torch.float64)
    for (a, d), (b, e) in zip(left, right, strict=True):
        slopes = (d.flatten(0, 1) @ e.flatten(0, 1).T).reshape(*d.shape[:2], *e.shape[:2])
        total = total + slopes * (a @ b.T)[:, None, :, None]
    n, classes, m, others = total.shape
    return total.reshape(n * classes, m * others)


def residuals(logits: Tensor, targets: Tensor) -> Tensor:
    """Slopes of the cross-entropy in the logits, (n, classes)."""
    return torch.softmax(logits, 1) - nn.functional.one_hot(targets, logits.shape[1])


def roots(logits: Tensor) -> Tensor:
    """S with `S S' = diag p - p p'` for each record, (n, classes, classes)."""
    p = torch.softmax(logits, 1)
    root = p.sqrt()
    return torch.diag_embed(root) - p.unsqueeze(2) * root.unsqueeze(1)


def dense(given: Given) -> Score:
    """`grad l_q' (G + damping)^-1 grad l_i / n`, damping absolute (`damping`, 0.01 unless told otherwise)."""
    damping = float(given.params.get("damping", 0.01))
    logits, mine = layers(given, given.inputs)
    asked_logits, asked = layers(given, given.query_inputs)
    n, classes = logits.shape
    root = roots(logits)
    whole = kernel(mine, mine)

    def halve(matrix: Tensor) -> Tensor:
        """S' times (n classes, columns)."""
        return (root.transpose(1, 2) @ matrix.reshape(n, classes, -1)).reshape(n * classes, -1)

    curved = halve(halve(whole).T)
    curved.diagonal().add_(n * damping)
    factor = torch.linalg.cholesky(curved)

    def score() -> Tensor:
        across = _along(kernel(mine, asked), residuals(asked_logits, given.query_targets))
        solved = torch.cholesky_solve(halve(across), factor)
        spread = (root @ solved.reshape(n, classes, -1)).reshape(n * classes, -1)
        moved = (across - whole @ spread) / damping
        push = residuals(logits, given.targets)
        return (push.unsqueeze(2) * moved.reshape(n, classes, -1)).sum(1) / n

    return score


def gradient_product(given: Given) -> Score:
    """`grad l_q . grad l_i`."""

    def score() -> Tensor:
        (logits, mine), (asked_logits, asked) = layers(given, given.inputs), layers(given, given.query_inputs)
        across = _along(kernel(mine, asked), residuals(asked_logits, given.query_targets))
        push = residuals(logits, given.targets)
        return (push.unsqueeze(2) * across.reshape(*push.shape, -1)).sum(1)

    return score


def _along(matrix: Tensor, push: Tensor) -> Tensor:
    """`matrix` (rows, queries classes) times each query's own direction: (rows, queries)."""
    return (matrix.reshape(len(matrix), *push.shape) * push).sum(2)


if __name__ == "__main__":
    main({"dense": dense, "gradient product": gradient_product})
