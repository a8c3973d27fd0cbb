"""Cases of whole layers and of what surrounds them: norms, attention, uneven pooling, indexing, optimizers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from validator.exact.conformance.case import Case
from validator.exact.random import Stream

_IMAGE = (3, 4, 9, 8)
_HEADS = (4, 8, 5, 6)
"""Records, heads, positions, width; `_heads` makes queries, keys and values of it."""


def _normalised() -> list[Case]:
    maps, channels = (5, 6, 4, 3), (6,)
    rms = ("nn.functional.rms_norm",)
    return [
        Case(
            "rms norm", lambda x, w: functional.rms_norm(x, (24,), w, 1e-5), ((19, 24), (24,)), rowwise=True, needs=rms
        ),
        Case("rms norm bare", lambda x: functional.rms_norm(x, (4, 6)), ((7, 4, 6),), rowwise=True, needs=rms),
        Case("group norm", lambda x, w, b: functional.group_norm(x, 3, w, b), (maps, channels, channels), rowwise=True),
        Case("group norm bare", lambda x: functional.group_norm(x, 2), ((5, 6, 7),), rowwise=True),
        Case(
            "instance norm",
            lambda x, w, b: functional.instance_norm(x, weight=w, bias=b),
            (maps, channels, channels),
            rowwise=True,
        ),
        Case("instance norm 1d", lambda x: functional.instance_norm(x), ((5, 6, 7),), rowwise=True),
        Case("batch norm 1d", lambda x, w, b: _batch_norm(x, w, b), ((9, 6), channels, channels), rowwise=True),
        Case("batch norm bare", lambda x: _batch_norm(x, None, None), (maps,), rowwise=True),
    ]


def _batch_norm(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    spread = torch.arange(x.shape[1], device=x.device).to(x.dtype)
    return functional.batch_norm(x, spread * 0.1, spread * 0.25 + 0.5, weight, bias)


def _attention() -> list[Case]:
    def case(name: str, run: Callable[[Tensor], Tensor]) -> Case:
        return Case(f"attention {name}", run, (_HEADS,), rowwise=True)

    attend = functional.scaled_dot_product_attention
    return [
        case("plain", lambda x: attend(*_heads(x))),
        case("causal", lambda x: attend(*_heads(x), is_causal=True)),
        case("masked", lambda x: attend(*_heads(x), attn_mask=_sight(x))),
        case("masked by infinity", lambda x: attend(*_heads(x), attn_mask=_barrier(x))),
        case("masked by a bias", lambda x: attend(*_heads(x), attn_mask=_barrier(x).clamp(min=-1.5))),
        case("grouped", lambda x: attend(x[:, :4], x[:, 4:6], x[:, 6:], is_causal=True, enable_gqa=True)),
        case("scaled", lambda x: attend(*_heads(x), scale=0.3)),
        case("of few queries", lambda x: attend(_heads(x)[0][:, :, :2], *_heads(x)[1:])),
        case("written out", _written_out),
        case("with rotary positions", _causal_and_rotated),
    ]


def _heads(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return x[:, :4], x[:, 4:], x[:, 2:6] * 0.5


def _sight(x: Tensor) -> Tensor:
    """Which position sees which, bool (5, 5): the third sees none."""
    seen = Stream(b"sight", "").uniform((5, 5)) > 0.4
    seen[2] = False
    return seen.to(x.device)


def _barrier(x: Tensor) -> Tensor:
    return torch.zeros(5, 5, dtype=x.dtype, device=x.device).masked_fill(~_sight(x), -torch.inf)


def _written_out(x: Tensor) -> Tensor:
    query, key, value = _heads(x)
    scores = query @ key.transpose(-1, -2) / 6**0.5
    hidden = torch.ones(5, 5, dtype=torch.bool, device=x.device).triu(1)
    return scores.masked_fill(hidden, torch.finfo(x.dtype).min).softmax(-1) @ value


def _causal_and_rotated(x: Tensor) -> Tensor:
    query, key, value = _heads(x)
    return functional.scaled_dot_product_attention(_rotated(query), _rotated(key), value, is_causal=True)


def _rotated(x: Tensor) -> Tensor:
    """Rotary position embedding (Su et al. 2021), halves rotated as in GPT-NeoX and Llama."""
    half = x.shape[-1] // 2
    frequency = 1.0 / 10000.0 ** (torch.arange(half, device=x.device).to(x.dtype) / half)
    angle = torch.arange(x.shape[-2], device=x.device).to(x.dtype).unsqueeze(1) * frequency
    angle = torch.cat((angle, angle), dim=-1)
    turned = torch.cat((-x[..., half:], x[..., :half]), dim=-1)
    return x * angle.cos() + turned * angle.sin()


def _convolved() -> list[Case]:
    line = (3, 4, 11)
    runs: list[tuple[str, Callable[..., Tensor], tuple[tuple[int, ...], ...]]] = [
        ("same", lambda x, w, b: functional.conv2d(x, w, b, padding="same"), (_IMAGE, (5, 4, 5, 3), (5,))),
        ("same dilated", lambda x, w: functional.conv2d(x, w, padding="same", dilation=2), (_IMAGE, (5, 4, 2, 3))),
        ("depthwise", lambda x, w: functional.conv2d(x, w, None, (2, 1), (1, 2), (1, 2), 4), (_IMAGE, (8, 1, 3, 3))),
        ("pointwise", lambda x, w, b: functional.conv2d(x, w, b), (_IMAGE, (7, 4, 1, 1), (7,))),
        (
            "circular",
            lambda x, w: functional.conv2d(functional.pad(x, (1, 1, 1, 1), mode="circular"), w),
            (_IMAGE, (3, 4, 3, 3)),
        ),
        ("1d same", lambda x, w: functional.conv1d(x, w, padding="same"), (line, (5, 4, 3))),
        ("1d grouped", lambda x, w, b: functional.conv1d(x, w, b, 2, 3, 2, 2), (line, (6, 2, 3), (6,))),
    ]
    return [Case(f"conv {name}", run, shapes, rowwise=True) for name, run, shapes in runs]


def _pooled() -> list[Case]:
    line = (3, 4, 11)
    images: dict[str, Callable[[Tensor], Tensor]] = {
        "max pool ceil": lambda x: functional.max_pool2d(x, 2, ceil_mode=True),
        "max pool ceil padded": lambda x: functional.max_pool2d(x, 3, (2, 3), 1, (1, 2), ceil_mode=True),
        "average pool ceil": lambda x: functional.avg_pool2d(x, 2, ceil_mode=True),
        "average pool ceil padded": lambda x: functional.avg_pool2d(x, 3, 3, 1, True),
        "average pool ceil inside": lambda x: functional.avg_pool2d(x, (3, 2), 2, 1, True, False),
        "average pool divided": lambda x: functional.avg_pool2d(x, 3, 2, 1, True, True, 5),
        "adaptive average pool uneven": lambda x: functional.adaptive_avg_pool2d(x, (4, 3)),
        "adaptive average pool larger": lambda x: functional.adaptive_avg_pool2d(x, (13, 8)),
        "adaptive average pool of one axis": lambda x: functional.adaptive_avg_pool2d(x, (None, 3)),
        "adaptive max pool uneven": lambda x: functional.adaptive_max_pool2d(x, (4, 3)),
        "adaptive max pool larger": lambda x: functional.adaptive_max_pool2d(x, (13, 8)),
    }
    lines: dict[str, Callable[[Tensor], Tensor]] = {
        "max pool 1d ceil": lambda x: functional.max_pool1d(x, 3, 2, 1, 2, True),
        "average pool 1d ceil": lambda x: functional.avg_pool1d(x, 4, 3, 1, True),
        "adaptive average pool 1d": lambda x: functional.adaptive_avg_pool1d(x, 4),
        "adaptive max pool 1d": lambda x: functional.adaptive_max_pool1d(x, 4),
        "adaptive max pool 1d even": lambda x: functional.adaptive_max_pool1d(x, 11),
    }
    return [Case(name, run, (_IMAGE,), rowwise=True) for name, run in images.items()] + [
        Case(name, run, (line,), rowwise=True) for name, run in lines.items()
    ]


def _chosen() -> list[Case]:
    ids, table = (6, 5), (11, 4)
    return [
        Case("embedding padded", lambda w: functional.embedding(_ids(w, ids), w, padding_idx=3), (table,)),
        Case(
            "embedding by frequency", lambda w: functional.embedding(_ids(w, ids), w, scale_grad_by_freq=True), (table,)
        ),
        Case("embedding tied", lambda w: functional.embedding(_ids(w, ids), w) @ w.t(), (table,)),
        Case("bottom of rows", lambda x: x.topk(3, -1, largest=False).values, ((9, 20),), rowwise=True),
        Case("top of columns", lambda x: x.topk(3, 0).values, ((20, 9),)),
        Case("cumulative sum of columns", lambda x: x.cumsum(0), ((20, 9),)),
        Case("index put", lambda x, y: x.index_put((_ids(x, (7,)),), y), ((11, 4), (7, 4))),
        Case("index put added", lambda x, y: x.index_put((_ids(x, (7,)),), y, accumulate=True), ((11, 4), (7, 4))),
        Case("scatter", lambda x, y: x.scatter(1, _order(x), y), ((6, 11), (6, 11)), backward=False),
        Case("scatter add rows", lambda x, y: x.scatter_add(0, _ids(x, (7, 4)), y), ((11, 4), (7, 4))),
        Case("assigned slice", _assigned, ((9, 8), (9, 3))),
        Case("selected by a mask", lambda x: x[x > 0.3], ((9, 8),)),
        Case("along an axis", lambda x: x.take_along_dim(x.argsort(-1), -1), ((9, 8),), rowwise=True),
        Case("moved", lambda x: x.roll(2, -1).flip(-1).tril().repeat_interleave(2, -1), ((9, 8),)),
        Case("framed", lambda x: x.unfold(-1, 4, 2).mean(-1), ((9, 11),), rowwise=True),
    ]


def _ids(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Numbers below 11, several of them equal."""
    return Stream(b"ids", str(shape)).integers(11, shape).to(x.device)


def _order(x: Tensor) -> Tensor:
    """A permutation of each row's places."""
    return torch.stack([Stream(b"order", str(i)).permutation(x.shape[1]) for i in range(x.shape[0])]).to(x.device)


def _assigned(x: Tensor, y: Tensor) -> Tensor:
    result = x.clone()
    result[:, 2:5] = y
    result[3] *= 2.0
    return result


def _optimised() -> list[Case]:
    optimisers: dict[str, Callable[[list[nn.Parameter]], torch.optim.Optimizer]] = {
        "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
        "sgd with momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01, nesterov=True),
        "adam": lambda p: torch.optim.Adam(p, lr=0.1, weight_decay=0.01),
        "adamw": lambda p: torch.optim.AdamW(p, lr=0.1),
    }

    def case(name: str, make: Callable[[list[nn.Parameter]], torch.optim.Optimizer]) -> Case:
        def run(x: Tensor, y: Tensor) -> Tensor:
            parameters = [nn.Parameter(x.clone()), nn.Parameter(y.clone())]
            optimiser = make(parameters)
            for step in range(3):
                for p in parameters:
                    p.grad = torch.sub(p.detach(), 0.5 * step)
                nn.utils.clip_grad_norm_(parameters, 2.0)
                optimiser.step()
            return torch.cat([p.detach().flatten() for p in parameters])

        return Case(f"steps of {name}", run, ((5, 4), (7,)), backward=False)

    return [case(name, make) for name, make in optimisers.items()]


COVERAGE = [*_normalised(), *_attention(), *_convolved(), *_pooled(), *_chosen(), *_optimised()]
