"""Infinity and NaN: where they are refused, where they pass on as themselves, and that no NaN turns into a number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.nn import functional as F

from tests.exact.operators import arguments
from validator.exact import ExactError, NonFinite, exact, kernels
from validator.exact.rules.table import Kind, table

NAN, INF = float("nan"), float("inf")
BAD = torch.tensor([1.0, NAN, -2.0])


@pytest.mark.parametrize(
    ("op", "run"),
    [
        ("aten.argmax", lambda: BAD.argmax()),
        ("aten.max", lambda: BAD.max(0)),
        ("aten.sort", lambda: BAD.sort()),
        ("aten.topk", lambda: BAD.topk(2)),
        ("aten.gt", lambda: torch.where(BAD > 0, 1.0, 2.0)),
        ("aten.le", lambda: BAD <= BAD),
        ("aten.fmax", lambda: torch.fmax(BAD, torch.zeros(3))),
        ("aten.sign", lambda: BAD.sign()),
        ("aten.logical_not", lambda: BAD.logical_not()),
        ("aten.any", lambda: BAD.any()),
        ("aten.nonzero", lambda: BAD.nonzero()),
        ("aten.sum", lambda: BAD.sum()),
        ("aten.mm", lambda: BAD[None] @ BAD[:, None]),
        ("aten._local_scalar_dense", lambda: BAD[1].item()),
        ("aten._local_scalar_dense", lambda: (torch.ones(()) * 1e30 * 1e30).item()),
        ("aten.threshold_backward", lambda: torch.ops.aten.threshold_backward(torch.ones(3), BAD, 0)),
        ("aten._log_softmax", lambda: F.cross_entropy(torch.tensor([[INF, 0.0]]), torch.tensor([0]))),
    ],
)
def test_exact__nan_that_would_be_lost__refused_by_name(op: str, run: Callable[[], object]) -> None:
    with exact(), pytest.raises(NonFinite) as caught:
        run()
    assert caught.value.op == op


@pytest.mark.parametrize(
    "run",
    [torch.relu, torch.exp, torch.amax, torch.maximum, torch.abs, torch.floor, F.gelu, F.silu, F.softplus, F.leaky_relu,
     F.elu, F.hardtanh, torch.erf, torch.tanh, torch.sqrt, lambda x: x.clamp(-1, 1), lambda x: x * 0.0],
)  # fmt: skip
def test_exact__nan_in_an_elementwise_operator__comes_out_as_nan(run: Callable[..., Tensor]) -> None:
    with exact():
        result = run(BAD, BAD) if run is torch.maximum else run(BAD)
    assert result.isnan().any()


def test_exact__questions_about_nan__are_answered() -> None:
    with exact():
        assert torch.isnan(BAD).tolist() == [False, True, False]
        assert torch.isfinite(BAD).tolist() == [True, False, True]
        assert (BAD != BAD).tolist() == [False, True, False]


def test_exact__infinity_in_the_order__is_its_end_and_no_error() -> None:
    x = torch.tensor([-INF, 3.0, INF])
    with exact():
        assert x.argmax().item() == 2
        assert (x < 0).tolist() == [True, False, False]
        assert x.sort().indices.tolist() == [0, 1, 2]
        assert x.clamp(-1.0, 5.0).tolist() == [-1.0, 3.0, 5.0]


def test_exact__infinities_whose_sum_is_nan__are_not_taken_for_nan() -> None:
    with exact():
        assert (torch.tensor([INF, -INF]) > 0).tolist() == [True, False]


def test_exact__scores_masked_by_infinity__softmax_gives_them_zero() -> None:
    scores = torch.tensor([[1.0, 2.0, 3.0]]).masked_fill(torch.tensor([False, True, False]), -INF)
    with exact():
        assert scores.softmax(-1)[0, 1].item() == 0.0
        assert scores.argmax().item() == 2


def test_exact__pooling_over_nan__shows_it() -> None:
    image = torch.zeros(1, 1, 4, 4)
    image[0, 0, 1, 1] = NAN
    with exact():
        pooled = nn.MaxPool2d(2)(image)
    assert pooled.isnan().tolist() == [[[[True, False], [False, False]]]]


QUIET = """
    eq.Scalar eq.Tensor ne.Scalar ne.Tensor not_equal.Scalar not_equal.Tensor equal.default isnan.default isinf.default
    isfinite.default isposinf.default isneginf.default
"""
"""Quiet in IEEE 754: comparing for equality, and asking what a value is."""
MOVES = """
    zeros_like ones_like full_like new_zeros new_ones new_full empty_like new_empty new_empty_strided fill fill_ zero_
    copy_ _foreach_copy_ _foreach_zero_ slice_scatter select_scatter narrow size type_as expand_as view_as reshape_as
    is_same_size is_pinned to
"""
"""They read the shape of an operand alone, write over it, or take a part of it."""
UNREAD = {
    "log_sigmoid_backward.default, argument 2",
    "native_layer_norm_backward.default, argument 6",
    "native_batch_norm_backward.default, argument 5",
    "native_batch_norm_backward.default, argument 6",
    "_adaptive_avg_pool2d_backward.default, argument 1",
    "adaptive_max_pool2d_backward.default, argument 0",
    "adaptive_max_pool2d_backward.default, argument 1",
    "adaptive_max_pool2d_backward.default, argument 2",
}
"""Operands that a gradient does not depend on; and a backward whose indices cannot be made up."""


def test_table__nan_in_any_operand__is_refused_or_still_there() -> None:
    exempt = frozenset((QUIET + MOVES).split())
    tried, lost = 0, []
    for op, rule in table().items():
        packet = op.overloadpacket.__name__
        name = f"{packet}.{op._overloadname}"
        if rule.kind is Kind.VIEW or packet in exempt or name in exempt:
            continue
        for position in range(len(op._schema.arguments)):
            outcome = _with_nan(op, position)
            tried += outcome is not None
            if outcome is False:
                lost.append(f"{name}, argument {position}")
    assert tried > 250
    assert set(lost) <= UNREAD


def _with_nan(op: OpOverload, position: int) -> bool | None:
    """Whether a NaN in one operand is refused or shows in the result; None where the operator cannot be called so."""
    for tensor in (torch.tensor([[1.5, 2.25], [0.5, 0.75]]), torch.tensor([1.5, 0.25])):
        args, kwargs = arguments(op, tensor)
        if position >= len(args) or not isinstance(args[position], Tensor):
            return None
        try:
            if not _call(op, args, kwargs):
                continue
        except (RuntimeError, TypeError, ValueError, IndexError):
            continue
        args, kwargs = arguments(op, tensor)
        args[position].view(-1)[0] = NAN
        try:
            return any(bool(t.isnan().any()) for t in _call(op, args, kwargs))
        except ExactError:
            return True
    return None


def _call(op: OpOverload, args: list[Any], kwargs: dict[str, Any]) -> list[Tensor]:
    """The tensors of the result that hold anything; of an operator without a result, its first operand."""
    with kernels.reference(), exact():
        result = op(*args, **kwargs)
    values = result if isinstance(result, list | tuple) else [args[0] if result is None else result]
    return [value for value in values if isinstance(value, Tensor) and value.numel()]
