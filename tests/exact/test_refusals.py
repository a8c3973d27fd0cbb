"""Nothing falls through: what is not in the table is refused by name, and the table holds what it says."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from validator.exact import ExactError, UnsupportedOp, exact, harmless
from validator.exact.table import REFUSED, Kind, table

X = torch.linspace(0.1, 1.0, 16).view(4, 4)


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
        ("aten.convolution", lambda: F.conv_transpose2d(X[None, None], X[None, None])),
        ("aten.avg_pool2d", lambda: F.avg_pool2d(X[None], 3, ceil_mode=True)),
        ("aten._adaptive_avg_pool2d", lambda: F.adaptive_avg_pool2d(X[None], 3)),
        ("aten.native_batch_norm", lambda: F.batch_norm(X, None, None, training=True)),
        ("aten.complex", lambda: torch.complex(X, X)),
        ("aten.mm", lambda: X.bfloat16() @ X.bfloat16()),
        ("aten.mm", lambda: torch.ops.aten.mm(X, X.double())),
        ("aten.add", lambda: X.half() + X.half()),
        ("aten._to_copy", lambda: torch.tensor([float("nan")]).long()),
        ("aten._to_copy", lambda: torch.tensor([3e9]).int()),
        ("aten._foreach_add_", lambda: torch._foreach_add_([X.clone()], 1.0)),
        ("aten.mul", lambda: torch.mul(X, X, out=torch.zeros(4, 4))),
        ("aten.mm", lambda: torch.mm(X, X, out=torch.zeros(4, 4))),
        ("aten.normal_", lambda: nn.init.normal_(torch.zeros(3))),
        ("aten._histogramdd_bin_edges", lambda: torch.histogramdd(X, bins=[2] * 4)),
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
        F.scaled_dot_product_attention(q, q, q)


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


def test_exact__compiled_function__is_not_run() -> None:
    ran = []

    def backend(graph: object, inputs: object) -> Callable[..., object]:
        return lambda *args: ran.append(1) or [args[0] * 0.0]

    compiled = torch.compile(lambda x: (x @ x).exp(), backend=backend)
    compiled(X)
    assert ran == [1]
    with exact():
        assert torch.equal(compiled(X), (X @ X).exp())
    assert ran == [1]


def test_exact__fake_tensors__refused_by_name() -> None:
    with torch._subclasses.FakeTensorMode() as mode:
        fake = mode.from_tensor(X)
    with exact(), pytest.raises(UnsupportedOp, match="FakeTensor"):
        fake @ fake


def test_exact__denormals_flushed__refused_on_entry() -> None:
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot flush denormals")
    try:
        with pytest.raises(ExactError, match="denormal"), exact():
            raise AssertionError("entered")
    finally:
        torch.set_flush_denormal(False)


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
