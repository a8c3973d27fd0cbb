"""Nothing falls through: every operator that torch has registered is called under exact(), with real arguments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from tests.exact.operators import arguments, is_composite, registered
from validator.exact import ExactError, UnsupportedOp, exact, kernels
from validator.exact.rules.table import Kind, table

SHAPES = (
    torch.tensor([[1.5, 2.25], [0.5, 7.0e4]]),
    torch.tensor([1.5, 0.25]),
    torch.linspace(0.1, 2.0, 16).view(1, 1, 4, 4),
    torch.tensor([1, 0]),
)
"""Tensors to try in turn, until an operator is content with one."""

AUTOGRAD = {"aten::_fw_primal", "quantized_decomposed::fake_quant_per_channel"}
"""Run by autograd itself, above any mode: one asks for an alias, the other is written in Python out of operators of the
table."""

HANDLES = {"aten::_add_batch_dim"}
"""Wraps a tensor for torch.func; outside of it the wrapper can be asked nothing."""

READ_MEMORY = {
    "aten::_saturate_weight_to_fp16",
    "aten::choose_qparams_optimized",
    "aten::fbgemm_linear_quantize_weight",
    "aten::fbgemm_pack_gemm_matrix_fp16",
}
"""Composites that compute on the memory of their operands, where no mode can see it: old helpers of quantisation. The
products on what they pack (aten::fbgemm_linear_...) are of the same kind."""

CONSTANTS = {
    "aten::_shape_as_tensor",
    "aten::_test_ambiguous_defaults.a",
    "aten::_test_ambiguous_defaults.b",
    "aten::fill_diagonal_",
}
"""Composites that write sizes, or numbers they were given."""


class Spy(TorchDispatchMode):
    """Writes down the operators on their way to exact()."""

    def __init__(self) -> None:
        super().__init__()
        self.ops: list[OpOverload] = []

    def __torch_dispatch__(
        self, func: OpOverload, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> object:
        self.ops.append(func)
        return func(*args, **(kwargs or {}))


@pytest.fixture(scope="module")
def operators() -> list[tuple[str, OpOverload]]:
    found = list(registered())
    assert len(found) > 3000
    assert {name.split("::")[0] for name, _ in found} >= {"aten", "prims", "quantized", "c10d", "_c10d_functional"}
    return found


def test_registry__operators_outside_the_table__refused_by_name_before_they_run(
    operators: list[tuple[str, OpOverload]],
) -> None:
    refused, malformed, passed = [], [], []
    for name, op in operators:
        if op in table() or is_composite(op):
            continue
        try:
            args, kwargs = arguments(op, SHAPES[0])
            with exact():
                op(*args, **kwargs)
            passed.append(name)
        except UnsupportedOp as error:
            # One namespace of collectives, for autograd, hands over to the other.
            assert error.op == name.split(".")[0].replace("::", ".").replace("_functional_autograd", "_functional")
            refused.append(name)
        except (RuntimeError, TypeError, AssertionError):
            malformed.append(name)
    assert set(passed) <= AUTOGRAD
    assert len(refused) > 2000
    assert len(malformed) < 0.1 * len(refused)


def test_registry__composite_operators__only_operators_of_the_table_run(
    operators: list[tuple[str, OpOverload]],
) -> None:
    answered, refused, unseen = [], [], []
    for name, op in operators:
        if op in table() or not is_composite(op) or name in HANDLES:
            continue
        for tensor in SHAPES:
            args, kwargs = arguments(op, tensor)
            before = [t.clone() for t in _tensors([args, kwargs])]
            try:
                with kernels.reference(), exact(), Spy() as spy:
                    result = op(*args, **kwargs)
            except ExactError:
                refused.append(name)
                break
            except (RuntimeError, TypeError, IndexError, ValueError, NotImplementedError):
                continue
            assert set(spy.ops) <= set(table()), name
            answered.append(name)
            if not _explained(result, [args, kwargs], before, spy.ops):
                unseen.append(name)
            break
    assert len(answered) > 130
    assert len(refused) > 200
    assert "aten::choose_qparams_optimized" in unseen
    assert set(unseen) <= READ_MEMORY | CONSTANTS


def _tensors(value: object) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))


def _explained(result: object, given: object, before: list[Tensor], ops: list[OpOverload]) -> bool:
    """Whether the operators seen can have made the result: one that computes, or no new values at all."""
    if any(table()[op].kind is not Kind.VIEW and not _makes_room(op) for op in ops):
        return True
    operands = list(_tensors(given))
    changed = not all(torch.equal(a, b) for a, b in zip(operands, before, strict=True))
    known = {t.untyped_storage().data_ptr() for t in operands}
    new = [t for t in _tensors(result) if t.layout is torch.strided and t.untyped_storage().data_ptr() not in known]
    return not changed and not new


def _makes_room(op: OpOverload) -> bool:
    return op.overloadpacket.__name__ in ("empty", "new_empty", "empty_like", "empty_strided", "fill_", "zeros")
