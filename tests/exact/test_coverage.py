"""What the list of cases cannot say: records under vmap, graphs of gradients, ties, sizes, optimizers, refusals."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.func import grad, vmap
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from validator.exact import UnsupportedOp, exact
from validator.exact.conformance import cases
from validator.exact.conformance.case import Case
from validator.exact.graph import one_graph
from validator.exact.random import Stream
from validator.exact.rules import norms
from validator.exact.rules.ordering import sort, top_k

ROWWISE = [case for case in cases() if case.rowwise]
by_name = pytest.mark.parametrize("case", ROWWISE, ids=lambda case: case.name.replace(" ", "-"))


@pytest.fixture(autouse=True)
def _math_attention() -> Iterator[None]:
    """For the float64 references, which run outside exact()."""
    with sdpa_kernel(SDPBackend.MATH):
        yield


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@by_name
def test_rowwise_case__records_under_vmap__gradients_of_each_record_alone(case: Case) -> None:
    first, *rest = case.inputs()
    cotangent = Stream(b"records", case.name).normal(case.run(first, *rest).shape)

    def product(record: Tensor, weight: Tensor, *others: Tensor) -> Tensor:
        return (case.run(record.unsqueeze(0), *others).squeeze(0) * weight).sum()

    asked = (0, *range(2, 2 + len(rest))) if case.backward else ()
    gradients = grad(product, argnums=asked) if asked else product
    with exact():
        together = vmap(gradients, in_dims=(0, 0, *(None for _ in rest)))(first[:3], cotangent[:3], *rest)
        for i in range(3):
            if not asked:
                assert torch.equal(product(first[i], cotangent[i], *rest), together[i])
                continue
            leaves = [t.clone().requires_grad_() for t in (first[i], *rest)]
            alone = torch.autograd.grad(product(leaves[0], cotangent[i], *leaves[1:]), leaves)
            assert all(torch.equal(a, b[i]) for a, b in zip(alone, together, strict=True))


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name.replace(" ", "-"))
def test_case__under_inference_mode__bits_of_the_forward_pass(case: Case) -> None:
    inputs = case.inputs()
    with exact():
        recorded = case.run(*(x.clone().requires_grad_(case.backward) for x in inputs))
        with torch.inference_mode():
            assert torch.equal(case.run(*inputs), recorded)


def _gradients(run: Callable[..., Tensor], inputs: list[Tensor], create_graph: bool = False) -> list[Tensor]:
    leaves = [x.clone().requires_grad_() for x in inputs]
    out = run(*leaves)
    cotangent = Stream(b"gradients", "").normal(out.shape).to(out.dtype)
    found = torch.autograd.grad(out, leaves, cotangent, create_graph=create_graph)
    return [out.detach(), *(g.detach() for g in found)]


@pytest.mark.parametrize("affine", [True, False])
def test_group_norm__gradient_recorded_for_another__same_bits(affine: bool) -> None:
    stream = Stream(b"group norm", "")
    inputs = [stream.normal((4, 6, 5, 3)), *[stream.normal((6,)) for _ in range(2 * affine)]]
    with exact():
        plain = _gradients(lambda x, *p: F.group_norm(x, 3, *p), inputs)
        recorded = _gradients(lambda x, *p: F.group_norm(x, 3, *p), inputs, create_graph=True)
    assert all(torch.equal(a, b) for a, b in zip(plain, recorded, strict=True))


class _OnePieceRmsNorm(torch.autograd.Function):
    """What a GPU does since torch 2.8: one operator forward, one backward."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor | None, eps: float | None) -> Tensor:
        output, scale = norms.fused_rms_norm(x, x.shape[-1:], weight, eps)
        ctx.save_for_backward(x, weight, scale)
        return output

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, scale = ctx.saved_tensors
        found = norms.fused_rms_norm_backward(gradient, x, x.shape[-1:], scale, weight, (True, weight is not None))
        return *found, None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("eps", [None, 1e-5])
@pytest.mark.parametrize("shape", [(40,), (7, 40), (3, 5, 40)])
def test_rms_norm__in_one_piece__bits_of_the_parts(
    shape: tuple[int, ...], eps: float | None, dtype: torch.dtype
) -> None:
    stream = Stream(b"rms norm", "")
    x, weight = stream.normal(shape).to(dtype), stream.normal(shape[-1:]).to(dtype)
    with exact():
        for inputs in ([x, weight], [x]):
            parts = _gradients(lambda a, w=None: F.rms_norm(a, a.shape[-1:], w, eps), inputs)
            whole = _gradients(lambda a, w=None: _OnePieceRmsNorm.apply(a, w, eps), inputs)
            assert all(torch.equal(a, b) for a, b in zip(parts, whole, strict=True))


def test_rms_norm__beside_a_residual__parts_that_every_device_records() -> None:
    stream = Stream(b"residual", "")
    x, weight = stream.normal((7, 40)), stream.normal((40,))

    def block(a: Tensor, w: Tensor) -> Tensor:
        a = a * 1.5
        return a + F.rms_norm(a, (40,), w, 1e-5).tanh()

    with exact():
        parts = _gradients(block, [x, weight])
        with one_graph():
            written_out = _gradients(block, [x, weight])
            with pytest.raises(RuntimeError, match="normalized_shape"):
                F.rms_norm(x, (39,))
    assert all(torch.equal(a, b) for a, b in zip(parts, written_out, strict=True))


def test_batch_norm__of_cudnn__bits_of_the_plain_operator() -> None:
    stream = Stream(b"cudnn", "")
    x, weight, bias, mean = (stream.normal(s) for s in ((5, 6, 4, 3), (6,), (6,), (6,)))
    for arguments in (
        (x, weight, bias, mean, mean.abs() + 0.1, False, 0.1, 1e-5),
        (x[:1], weight, bias, None, None, True, 0.1, 1e-5),
    ):
        plain, named = norms.batch_norm(*arguments), norms.cudnn_batch_norm(*arguments)
        assert all(torch.equal(a, b) for a, b in zip(plain, named, strict=False))
    single = (x[:1], weight, None, None, *plain[1:])
    of_cudnn = norms.cudnn_batch_norm_backward(single[0], x[1:2], *single[1:], 1e-5, torch.zeros(0, dtype=torch.uint8))
    of_torch = norms.batch_norm_backward(x[1:2], *single, True, 1e-5, (True, True, True))
    assert all(torch.equal(a, b) for a, b in zip(of_torch, of_cudnn, strict=True))


@pytest.mark.parametrize("tracked", [True, False])
def test_batch_norm__statistics_of_a_batch__refused(tracked: bool) -> None:
    module = nn.BatchNorm2d(3, track_running_stats=tracked).train()
    with exact(), pytest.raises(UnsupportedOp, match=r"model\.eval\(\)"):
        module(Stream(b"batch", "").normal((4, 3, 2, 2)))


@pytest.mark.parametrize("pool", [F.adaptive_avg_pool2d, F.adaptive_max_pool2d], ids=["average", "max"])
@pytest.mark.parametrize("image", [(1, 1), (4, 6), (7, 5), (8, 3)])
def test_adaptive_pool__every_output_size__cells_of_torch(pool: Callable[..., Tensor], image: tuple[int, int]) -> None:
    x = Stream(b"adaptive", str(image)).normal((2, *image))
    for size in [(h, w) for h in (1, 2, 3, 5, 8, 9) for w in (1, 4, 5, 7)]:
        with exact():
            found = _gradients(lambda a, size=size: pool(a, size), [x])
        expected = _gradients(lambda a, size=size: pool(a, size), [x.double()])
        for ours, theirs in zip(found, expected, strict=True):
            assert torch.allclose(ours.double(), theirs, rtol=1e-6, atol=1e-6), (image, size)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("convolve", [F.conv1d, F.conv2d], ids=["1d", "2d"])
def test_convolution__same_padding_of_an_even_kernel__sizes_and_values_of_torch(
    convolve: Callable[..., Tensor],
) -> None:
    axes = 1 if convolve is F.conv1d else 2
    inputs = [Stream(b"same", name).normal((4, 4, *size)) for name, size in (("x", (7,) * axes), ("w", (2,) * axes))]
    with exact():
        found = _gradients(lambda x, w: convolve(x, w, padding="same"), inputs)
    expected = _gradients(lambda x, w: convolve(x, w, padding="same"), [x.double() for x in inputs])
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.allclose(ours.double(), theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("ceil_mode", [True, False])
def test_pools__windows_at_every_edge__cells_and_counts_of_torch(ceil_mode: bool) -> None:
    for length, kernel, stride, padding in [
        (n, k, s, p) for n in (4, 5, 8) for k in (1, 2, 3) for s in (1, 2, 3, 4) for p in (0, 1) if p <= k // 2
    ]:
        x = Stream(b"edges", f"{length}").normal((2, length, length + 1))
        window = (kernel, stride, padding)
        runs: list[Callable[[Tensor], Tensor]] = [
            lambda a, w=window: F.max_pool2d(a, *w, ceil_mode=ceil_mode),
            lambda a, w=window: F.avg_pool2d(a, *w, ceil_mode, True),
            lambda a, w=window: F.avg_pool2d(a, *w, ceil_mode, False),
        ]
        for run in runs:
            with exact():
                found = _gradients(run, [x])
            for ours, theirs in zip(found, _gradients(run, [x.double()]), strict=True):
                assert torch.allclose(ours.double(), theirs, rtol=1e-6, atol=1e-6), (length, window)


@pytest.mark.parametrize("pool", [F.max_pool2d, F.adaptive_max_pool2d], ids=["windows", "cells"])
def test_max_pool__equal_values__first_in_row_order(pool: Callable[..., tuple[Tensor, Tensor]]) -> None:
    with exact():
        values, places = pool(torch.zeros(1, 5, 5), 2, return_indices=True)
    assert not values.any()
    assert places.tolist() == [[[0, 2], [10, 12]]]


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64, torch.int32, torch.uint8, torch.bool])
def test_top_k__many_ties__bits_of_a_stable_sort(dtype: torch.dtype, largest: bool) -> None:
    x = (Stream(b"ties", "").integers(7, (6, 9, 11)) - 3) * (1.0 if dtype.is_floating_point else 1)
    x = x.abs().to(dtype) if dtype in (torch.uint8, torch.bool) else x.to(dtype)
    if dtype.is_floating_point:
        special = [-0.0, 0.0, -0.0, torch.nan, -torch.nan, torch.inf, -torch.inf, 1e-42, -1e-42]
        x[0, :, 0] = torch.tensor(special, dtype=dtype)
        x[:, 0, 1] *= -0.0
    for dim in (0, 1, -1):
        for k in (0, 1, 4, x.shape[dim]):
            values, places = top_k(x, k, dim, largest)
            sorted_values, order = (t.narrow(dim, 0, k) for t in sort(x, dim, largest))
            assert torch.equal(places, order)
            assert torch.equal(values.nan_to_num(9.0).double(), sorted_values.nan_to_num(9.0).double())
            assert torch.equal(torch.signbit(values), torch.signbit(sorted_values))


def test_top_k__gradient_of_ties__goes_to_the_lowest_index() -> None:
    x = torch.tensor([1.0, 3.0, 3.0, 0.0, 3.0, -0.0]).requires_grad_()
    with exact():
        x.topk(2).values.sum().backward()
    assert x.grad.tolist() == [0.0, 1.0, 1.0, 0.0, 0.0, 0.0]


def test_attention__query_that_may_look_nowhere__is_zero_with_zero_gradient() -> None:
    q, k, v = (Stream(b"blind", name).normal((1, 2, 3, 4)).requires_grad_() for name in "qkv")
    mask = torch.tensor([[True, False, True], [False, False, False], [True, True, True]])
    with exact():
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        out.sum().backward()
    assert not out[:, :, 1].any()
    assert not q.grad[:, :, 1].any()
    assert all(t.grad.isfinite().all() for t in (q, k, v))


def test_attention__recorded_outside_with_a_fused_kernel__backward_refused_with_the_remedy() -> None:
    q = Stream(b"fused", "").normal((1, 2, 3, 4)).requires_grad_()
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        out = F.scaled_dot_product_attention(q, q, q)
    with exact(), pytest.raises(UnsupportedOp, match=r"flash_attention_for_cpu_backward.*SDPBackend\.MATH"):
        out.sum().backward()


_OPTIMISERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": lambda p, **how: torch.optim.SGD(p, lr=0.1, **how),
    "sgd-nesterov": lambda p, **how: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1, nesterov=True, **how),
    "sgd-dampened": lambda p, **how: torch.optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.1, maximize=True, **how),
    "adam": lambda p, **how: torch.optim.Adam(p, lr=0.1, weight_decay=0.1, **how),
    "adamw": lambda p, **how: torch.optim.AdamW(p, lr=0.1, maximize=True, **how),
}


def _stepped(make: Callable[..., torch.optim.Optimizer], foreach: bool | None, dtype: torch.dtype) -> list[Tensor]:
    stream = Stream(b"optimisers", "")
    parameters = [nn.Parameter(stream.normal(shape).to(dtype)) for shape in ((4, 3), (5,), (2, 2, 2))]
    optimiser = make(parameters, foreach=foreach)
    for _ in range(4):
        optimiser.zero_grad()
        for p in parameters:
            p.grad = stream.normal(p.shape).to(dtype) * 3.0
        nn.utils.clip_grad_norm_(parameters, 2.0, foreach=foreach)
        nn.utils.clip_grad_value_(parameters, 0.5, foreach=foreach)
        optimiser.step()
    return [p.detach() for p in parameters]


@pytest.mark.parametrize("name", _OPTIMISERS)
def test_optimiser__tensors_one_by_one_or_in_lists__same_bits_close_to_float64(name: str) -> None:
    make = _OPTIMISERS[name]
    with exact():
        alone, together, default = (_stepped(make, how, torch.float32) for how in (False, True, None))
    for a, b, c, reference in zip(alone, together, default, _stepped(make, False, torch.float64), strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c)
        assert torch.allclose(a.double(), reference, rtol=1e-5, atol=1e-6)


def test_foreach__lists_of_half_precision__refused() -> None:
    halves = [torch.ones(3, dtype=torch.bfloat16)]
    with exact(), pytest.raises(UnsupportedOp, match="_foreach_mul"):
        torch._foreach_mul(halves, 2.0)


def test_optimiser__writing_through_out__refused_with_the_remedy() -> None:
    p = nn.Parameter(torch.ones(3))
    p.grad = torch.ones(3)
    optimiser = torch.optim.Adam([p], amsgrad=True, foreach=False)
    with exact(), pytest.raises(UnsupportedOp, match="foreach=True"):
        optimiser.step()


@pytest.mark.parametrize(
    "divide", [torch.floor_divide, torch.remainder, lambda x, y: torch.div(x, y, rounding_mode="trunc")]
)
@pytest.mark.parametrize("zero", [0, torch.tensor([1, 0, 2])])
def test_integer_division__by_zero__refused(divide: Callable[..., Tensor], zero: int | Tensor) -> None:
    with exact(), pytest.raises(UnsupportedOp, match="divided by zero"):
        divide(torch.tensor([1, 2, 3]), zero)


@pytest.mark.parametrize("dim", [0, 1])
def test_index_copy__same_place_twice__last_slice_stays(dim: int) -> None:
    index, source = torch.tensor([2, 0, 2]), torch.arange(9.0).view(3, 3)
    with exact():
        found = torch.zeros(3, 3).index_copy(dim, index, source).movedim(dim, 0)
    rows = source.movedim(dim, 0)
    assert torch.equal(found, torch.stack([rows[1], torch.zeros(3), rows[2]]))


def test_in_place_forms__of_masks_and_functions__bits_of_the_functional_forms() -> None:
    x, seen = Stream(b"in place", "").normal((5, 4)), Stream(b"seen", "").uniform((5, 4)) > 0.5
    with exact():
        assert torch.equal(x.clone().expm1_(), x.expm1())
        assert torch.equal(x.clone().masked_scatter_(seen, x.flatten()), x.masked_scatter(seen, x.flatten()))
        assert torch.equal(x.clone().index_fill_(0, torch.tensor([1]), 2.0), x.index_fill(0, torch.tensor([1]), 2.0))
        assert torch.equal(seen.clone().logical_not_(), ~seen)
        both = seen.clone()
        both &= x > 0
    assert torch.equal(both, seen & (x > 0))
