"""Nothing falls through: what is not in the table is refused by name, and the table holds what it says."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from validator.exact import ExactError, NonFinite, UnsupportedOp, exact
from validator.exact.rules import harmless
from validator.exact.rules.table import REFUSED, Kind, table

X = torch.linspace(0.1, 1.0, 16).view(4, 4)
SPARSE, MKLDNN, NESTED = X.to_sparse(), X.to_mkldnn(), torch.nested.nested_tensor([X, X])
QUANTISED, COMPLEX = torch.quantize_per_tensor(X, 0.1, 0, torch.qint8), torch.complex(X, X)
LSTM = nn.LSTM(4, 4, batch_first=True)


@pytest.mark.parametrize(
    ("op", "run"),
    [
        ("aten.randn", lambda: torch.randn(3)),
        ("aten.rand", lambda: torch.rand(3)),
        ("aten.bernoulli", lambda: torch.bernoulli(X)),
        ("aten.bernoulli_", lambda: F.dropout(X, 0.5, True)),
        ("aten.native_dropout", lambda: torch.native_dropout(X, 0.5, True)),
        ("aten.linalg_inv_ex", lambda: torch.linalg.inv(X)),
        ("aten._linalg_svd", lambda: torch.linalg.svd(X)),
        ("aten.prod", lambda: X.prod()),
        ("aten.digamma", lambda: torch.digamma(X)),
        ("aten.atan2", lambda: torch.atan2(X, X)),
        ("aten.remainder", lambda: X % 0.3),
        ("aten.arange", lambda: torch.arange(0.0, 1.0, 0.1)),
        ("aten.linspace", lambda: torch.linspace(0, 1, 5)),
        ("aten.convolution", lambda: F.conv3d(X[None, None, None], X[None, None, None])),
        ("aten.native_batch_norm", lambda: F.batch_norm(X, None, None, training=True)),
        ("aten.complex", lambda: torch.complex(X, X)),
        ("aten.mm", lambda: X.bfloat16() @ X.bfloat16()),
        ("aten.mm", lambda: torch.ops.aten.mm(X, X.double())),
        ("aten.add", lambda: X.half() + X.half()),
        ("aten._to_copy", lambda: torch.tensor([float("nan")]).long()),
        ("aten._to_copy", lambda: torch.tensor([3e9]).int()),
        ("aten.mul", lambda: torch.mul(X, X, out=torch.zeros(4, 4))),
        ("aten.mm", lambda: torch.mm(X, X, out=torch.zeros(4, 4))),
        ("aten.normal_", lambda: nn.init.normal_(torch.zeros(3))),
        ("aten._histogramdd_bin_edges", lambda: torch.histogramdd(X, bins=[2] * 4)),
        ("aten.mkldnn_rnn_layer", lambda: LSTM(X[None])),
        ("aten.quantize_per_tensor", lambda: torch.quantize_per_tensor(X, 0.1, 0, torch.qint8)),
        ("aten.dequantize", lambda: QUANTISED.dequantize()),
        ("aten.relu", lambda: torch.relu(QUANTISED)),
        ("aten.mul", lambda: SPARSE * SPARSE),
        ("aten.mm", lambda: SPARSE @ X),
        ("aten.add", lambda: MKLDNN + MKLDNN),
        ("aten.to_mkldnn", lambda: X.to_mkldnn()),
        ("aten.mul", lambda: NESTED * NESTED),
        ("aten._nested_tensor_from_tensor_list", lambda: torch.nested.nested_tensor([X, X])),
        ("aten.mul", lambda: COMPLEX * COMPLEX),
        ("aten._conj", lambda: COMPLEX.conj().imag),
        ("aten.cat", lambda: torch.cat([X.bfloat16(), X.bfloat16()])),
        ("aten.set_", lambda: torch.zeros(4).set_(X)),
        ("aten.view", lambda: X.view(torch.int32)),
    ],
)  # fmt: skip
def test_exact__unsupported_operation__refused_by_name(op: str, run: Callable[[], object]) -> None:
    with exact(), pytest.raises(UnsupportedOp) as caught:
        run()
    assert caught.value.op == op
    assert op in str(caught.value)


def test_exact__refused_in_backward__names_the_op() -> None:
    x = X.clone().requires_grad_()
    y = torch.prod(x)
    with exact(), pytest.raises(UnsupportedOp, match="aten"):
        torch.prod(y * x).backward()


def test_exact__fused_attention__refused_with_the_remedy() -> None:
    q = torch.ones(1, 1, 4, 4)
    with exact(), pytest.raises(UnsupportedOp, match=r"SDPBackend\.MATH"):
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, q, q)


class Attention(nn.Module):
    """Its forward calls what `run` says."""

    def __init__(self, run: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.run = run

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x)


class Block(nn.Module):
    def __init__(self, run: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.attn = Attention(run)

    def forward(self, x: Tensor) -> Tensor:
        return self.attn(x)


def test_error__operator_in_a_nested_module__names_its_path_and_class() -> None:
    model = nn.Sequential(nn.Identity(), Block(torch.digamma))
    with exact(), pytest.raises(UnsupportedOp) as caught:
        model(X)
    assert caught.value.where == "1.attn (Attention)"
    assert str(caught.value) == ("aten.digamma is refused under exact(): it has no exact rule [in 1.attn (Attention)]")


def test_error__raised_deep_inside_a_rule__names_the_module_once() -> None:
    model = nn.Sequential(Block(lambda x: (x / 0.0).sum()))
    with exact(), torch.inference_mode(), pytest.raises(NonFinite, match=r"aten\.sum") as caught:
        model(X)
    assert str(caught.value).count("[in 0.attn (Attention)]") == 1
    assert "\n" not in str(caught.value)


def test_error__outside_of_modules__names_none() -> None:
    with exact(), pytest.raises(UnsupportedOp) as caught:
        torch.digamma(X)
    assert caught.value.where is None


def test_error__module_of_another_tree_under_functional_call__named_by_its_class() -> None:
    block = Block(torch.digamma)
    with exact(), pytest.raises(UnsupportedOp) as caught:
        torch.func.vmap(lambda x: torch.func.functional_call(block, {}, (x,)))(X)
    assert caught.value.where == "attn (Attention)"


def test_error__in_backward__names_the_node_and_not_the_module_that_trains() -> None:
    x = X.clone().requires_grad_()
    loss = torch.digamma(x)
    with exact(), pytest.raises(UnsupportedOp) as caught:
        Attention(lambda _: loss.backward(torch.ones_like(loss)))(x)
    assert caught.value.where == "the backward of DigammaBackward0"


def test_error__module_run_again_by_checkpointing__names_both() -> None:
    calls: list[int] = []

    def once(x: Tensor) -> Tensor:
        calls.append(1)
        return x * 2 if len(calls) == 1 else torch.digamma(x)

    out = checkpoint(Block(once), X.clone().requires_grad_(), use_reentrant=True)
    with exact(), pytest.raises(UnsupportedOp) as caught:
        out.sum().backward()
    assert caught.value.where == "attn (Attention), run again in the backward of CheckpointFunctionBackward"


@pytest.mark.parametrize("run", [
    lambda: torch.ops.higher_order.cond(True, torch.neg, torch.abs, (X,)),
    lambda: torch.cond(X.sum() > 0, torch.neg, torch.abs, (X,)),
], ids=["operator", "torch.cond"])  # fmt: skip
def test_exact__control_flow_operator__refused(run: Callable[[], object]) -> None:
    with exact(), pytest.raises((ExactError, NotImplementedError), match="cond"):
        run()


def test_exact__operator_registered_by_others__refused_by_name() -> None:
    @torch.library.custom_op("exact_tests::twice", mutates_args=())
    def twice(x: Tensor) -> Tensor:
        return torch.from_numpy(x.numpy() * 2)

    with exact(), pytest.raises(UnsupportedOp, match=r"exact_tests\.twice"):
        twice(X)


def _schemas() -> list[torch._ops.OpOverload]:
    ops = []
    for schema in torch._C._jit_get_all_schemas():
        if schema.name.startswith("aten::"):
            packet = getattr(torch.ops.aten, schema.name.removeprefix("aten::"), None)
            op = getattr(packet, schema.overload_name or "default", None)
            if isinstance(op, torch._ops.OpOverload):
                ops.append(op)
    return ops


def test_table__registry_of_aten__no_out_form_slips_in() -> None:
    registered = _schemas()
    assert len(registered) > 1500
    allowed = [op for op in registered if op in table()]
    assert len(allowed) > 250
    assert [op for op in allowed if any(a.is_out for a in op._schema.arguments)] == []


def test_table__registry_of_aten__in_place_forms_share_the_class_of_their_functional_form() -> None:
    rules = table()
    kinds: dict[str, set[Kind]] = {}
    for op, rule in rules.items():
        kinds.setdefault(op.overloadpacket.__name__, set()).add(rule.kind)
    writers = [op for op in _schemas() if op in rules and _writes(op)]
    assert len(writers) > 40
    for op in writers:
        name = op.overloadpacket.__name__
        if name not in ("copy_", "zero_", "_index_put_impl_"):
            assert name.endswith("_"), op
            assert rules[op].kind in kinds.get(name.removesuffix("_"), set()), op


def test_table__functional_forms__write_to_no_argument() -> None:
    assert [op for op in table() if _writes(op) and not op.overloadpacket.__name__.endswith("_")] == []


def _writes(op: torch._ops.OpOverload) -> bool:
    return any(a.alias_info is not None and a.alias_info.is_write for a in op._schema.arguments)


def test_table__in_place_arithmetic__runs_the_rule_of_its_functional_form() -> None:
    x, y = X.clone(), X * 3
    with exact():
        expected = x.add(y, alpha=0.3), x.div(7.0), x.sigmoid(), x.addcmul(y, y, value=0.1), x.lerp(y, 0.3)
        found = (
            x.clone().add_(y, alpha=0.3), x.clone().div_(7.0), x.clone().sigmoid_(),
            x.clone().addcmul_(y, y, value=0.1), x.clone().lerp_(y, 0.3),
        )  # fmt: skip
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_table__every_listed_name__exists_once_in_one_class() -> None:
    groups = (harmless.VIEWS, harmless.MOVES, harmless.COMPARISONS, harmless.ARITHMETIC, harmless.CHOICES)
    names = [name for group in (*groups, harmless.COMPOSITES, harmless.BOOKKEEPING) for name in group.split()]
    assert len(names) == len(set(names))
    known = {f"{op.overloadpacket.__name__}.{op._overloadname}" for op in table()}
    assert set(names) <= known


def test_table__hints_for_refusals__name_no_allowed_operator() -> None:
    allowed = {op.overloadpacket.__name__ for op in table()}
    assert not allowed & {name.split(".")[0] for name in REFUSED}


@pytest.mark.parametrize("kind", list(Kind))
def test_table__harmless_and_views__contain_no_float_reduction(kind: Kind) -> None:
    names = {op.overloadpacket.__name__ for op, rule in table().items() if rule.kind is kind}
    assert names
    if kind in (Kind.VIEW, Kind.HARMLESS):
        assert not names & {"sum", "mean", "mm", "bmm", "exp", "log", "tanh", "sqrt", "add", "div", "cumsum", "norm"}


def test_exact__fake_tensors__refused_by_name() -> None:
    with torch._subclasses.FakeTensorMode() as mode:
        fake = mode.from_tensor(X)
    with exact(), pytest.raises(UnsupportedOp, match="FakeTensor"):
        fake @ fake


def test_exact__entered_again_inside__same_bits_and_clean_exit() -> None:
    with exact():
        once = X @ X.t()
        with exact(), exact():
            again = X @ X.t()
        with pytest.raises(UnsupportedOp):
            torch.randn(2)
    assert torch.equal(once, again)
    assert torch.randn(2).shape == (2,)


def test_exact__error_inside__mode_is_left() -> None:
    with pytest.raises(ValueError, match="own"), exact():
        raise ValueError("own")
    assert torch.rand(1).shape == (1,)


def test_exact__memory_nobody_wrote__is_zero() -> None:
    with exact():
        tensors: list[Tensor] = [
            torch.empty(1000),
            torch.empty_like(X),
            X.new_empty(50),
            torch.empty_strided((2, 2), (1, 2)),
        ]
    assert all(not t.any() for t in tensors)


@pytest.mark.parametrize("index", [torch.tensor([1, 1, 0]), torch.tensor([2, 0, 2])])
def test_index_put__same_place_twice__last_value_stays(index: Tensor) -> None:
    with exact():
        put = torch.zeros(3).index_put((index,), torch.tensor([1.0, 2.0, 3.0]))
        scattered = torch.zeros(3).scatter(0, index, torch.tensor([1.0, 2.0, 3.0]))
    expected = [0.0, 0.0, 0.0]
    for place, value in zip(index.tolist(), (1.0, 2.0, 3.0), strict=True):
        expected[place] = value
    assert put.tolist() == scattered.tolist() == expected
