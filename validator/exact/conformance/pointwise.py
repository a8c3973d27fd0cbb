"""Cases of one input: functions of each element, and of each row."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from validator.exact.conformance.case import Case


def pointwise() -> list[Case]:
    """The cases; their names are those of the golden file."""
    plain: dict[str, Callable[[Tensor], Tensor]] = {
        "relu": functional.relu,
        "gelu": functional.gelu,
        "gelu tanh": lambda x: functional.gelu(x, approximate="tanh"),
        "tanh": torch.tanh,
        "sigmoid": torch.sigmoid,
        "silu": functional.silu,
        "softplus": functional.softplus,
        "log sigmoid": functional.logsigmoid,
        "elu": functional.elu,
        "elu in place": lambda x: functional.elu(x * 1.0, inplace=True),
        "leaky relu": functional.leaky_relu,
        "hardtanh": functional.hardtanh,
        "exp": torch.exp,
        "expm1": torch.expm1,
        "erf": torch.erf,
        "erfc": torch.erfc,
        "sin": torch.sin,
        "cos": torch.cos,
        "square": torch.square,
        "cube": lambda x: x**3,
        "abs": torch.abs,
        "clamp": lambda x: x.clamp(-0.5, 0.5),
        "divide by a number": lambda x: x / 3.0,
        "divide a number": lambda x: 2.0 / (x.abs() + 1.0),
        "softmax": lambda x: functional.softmax(x, -1),
        "log softmax": lambda x: functional.log_softmax(x, -1),
        "logsumexp": lambda x: x.logsumexp(-1),
        "layer norm bare": lambda x: functional.layer_norm(x, (x.shape[-1],)),
        "sum of rows": lambda x: x.sum(-1),
        "mean of rows": lambda x: x.mean(-1),
        "variance of rows": lambda x: x.var(-1),
        "deviation of rows": lambda x: x.std(-1, correction=0),
        "norm of rows": lambda x: x.norm(dim=-1),
        "cumulative sum": lambda x: x.cumsum(-1),
        "maximum of rows": lambda x: x.max(-1).values,
        "largest of rows": lambda x: x.amax(-1),
        "sorted rows": lambda x: x.sort(-1).values,
        "top of rows": lambda x: x.topk(3, -1).values,
        "dropout off": lambda x: functional.dropout(x, 0.0, True),
        "expected error": lambda x: 1.0 - x.softmax(-1)[:, 2],
    }
    positive: dict[str, Callable[[Tensor], Tensor]] = {
        "log": torch.log,
        "log1p": torch.log1p,
        "log2": torch.log2,
        "sqrt": torch.sqrt,
        "rsqrt": torch.rsqrt,
        "power 1.7": lambda x: x**1.7,
        "power -2": lambda x: x**-2,
        "reciprocal": torch.reciprocal,
    }
    return [Case(name, run, ((37, 20),), rowwise=True) for name, run in plain.items()] + [
        Case(name, run, ((37, 20),), rowwise=True, positive=True) for name, run in positive.items()
    ]
