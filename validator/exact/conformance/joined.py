"""Cases of several inputs or of an index: products, losses, gathers and scatters, sums across the batch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from validator.exact.conformance.case import Case
from validator.exact.random import Stream


def joined() -> list[Case]:
    """The cases; their names are those of the golden file."""
    return [
        Case("linear", functional.linear, ((33, 70), (12, 70), (12,)), rowwise=True),
        Case("mm", torch.mm, ((17, 40), (40, 9)), rowwise=True),
        Case("mm long", torch.mm, ((3, 9000), (9000, 4)), rowwise=True, tolerance=4e-6),
        Case("bmm", torch.bmm, ((5, 8, 16), (5, 16, 7))),
        Case("mv", torch.mv, ((8, 30), (30,)), rowwise=True),
        Case("dot", torch.dot, ((300,), (300,))),
        Case("einsum", lambda a, b: torch.einsum("bij,bkj->bik", a, b), ((4, 5, 6), (4, 7, 6))),
        Case(
            "layer norm", lambda x, w, b: functional.layer_norm(x, (24,), w, b), ((19, 24), (24,), (24,)), rowwise=True
        ),
        Case("batch norm", _batch_norm, ((6, 3, 4, 4), (3,), (3,)), rowwise=True),
        Case("add scaled", lambda x, y: torch.add(x, y, alpha=0.3), ((9, 9), (9, 9))),
        Case("addcmul", lambda x, a, b: torch.addcmul(x, a, b, value=0.3), ((9, 9),) * 3),
        Case("lerp", lambda x, y: torch.lerp(x, y, 0.3), ((9, 9),) * 2),
        Case("quotient", lambda x, y: x / (y.abs() + 0.5), ((9, 9), (9, 9))),
        Case("where", lambda x, y: torch.where(x > y, x, y * 2.0), ((9, 9), (9, 9))),
        Case("maximum", torch.maximum, ((9, 9), (9, 9))),
        Case("mse", functional.mse_loss, ((9, 9), (9, 9))),
        Case("mse sum", lambda x, y: functional.mse_loss(x, y, reduction="sum"), ((9, 9), (9, 9))),
        Case("logistic loss", lambda x: functional.binary_cross_entropy_with_logits(x, torch.ones_like(x)), ((9, 9),)),
        Case("cross entropy", lambda x: functional.cross_entropy(x, _labels(x, (40,))), ((40, 5),)),
        Case(
            "cross entropy each", lambda x: functional.cross_entropy(x, _labels(x, (40,)), reduction="none"), ((40, 5),)
        ),
        Case(
            "cross entropy smooth",
            lambda x: functional.cross_entropy(x, _labels(x, (40,)), label_smoothing=0.1),
            ((40, 5),),
        ),
        Case(
            "cross entropy weighted",
            lambda x, w: functional.cross_entropy(x, _labels(x, (40,)), w.detach().abs()) + 0.0 * w.sum(),
            ((40, 5), (5,)),
        ),
        Case(
            "cross entropy ignoring",
            lambda x: functional.cross_entropy(x, _labels(x, (40,)), ignore_index=2),
            ((40, 5),),
        ),
        Case("cross entropy 2d", lambda x: functional.cross_entropy(x, _labels(x, (4, 3, 3))), ((4, 5, 3, 3),)),
        Case("nll", lambda x: functional.nll_loss(x, _labels(x, (40,)), reduction="sum"), ((40, 5),)),
        Case("gather", lambda x: x.gather(1, _labels(x, (40, 3))), ((40, 5),), rowwise=False),
        Case("index", lambda x: x[_repeated(x)], ((11, 6),)),
        Case("index select", lambda x: x.index_select(0, _repeated(x)), ((11, 6),)),
        Case("embedding", lambda w: functional.embedding(_repeated(w), w), ((11, 6),)),
        Case("scatter add", lambda x: x.new_zeros(11).scatter_add(0, _repeated(x), x), ((200,),)),
        Case("index add", lambda x: x.new_zeros(11, 6).index_add(0, _repeated(x), x), ((200, 6),)),
        Case("concatenated", lambda x, y: torch.cat([x, y, x], 1), ((9, 4), (9, 3)), rowwise=False),
        Case("total", torch.sum, ((300, 200),)),
        Case("total mean", torch.mean, ((300, 200),)),
        Case("column sums", lambda x: x.sum(0), ((300, 200),)),
    ]


def _batch_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return functional.batch_norm(x, x.new_tensor([0.1, 0.2, -0.1]), x.new_tensor([1.5, 0.5, 1.0]), weight, bias)


def _labels(x: Tensor, shape: tuple[int, ...], classes: int = 5) -> Tensor:
    """Classes, where `x` is."""
    return Stream(b"labels", str(shape)).integers(classes, shape).to(x.device)


def _repeated(x: Tensor) -> Tensor:
    """200 indices below 11, where `x` is: most of them several times."""
    return Stream(b"index", "200/11").integers(11, (200,)).to(x.device)
