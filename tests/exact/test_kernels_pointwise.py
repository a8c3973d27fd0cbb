"""Every kernel of functions.py, activations.py and compound.py against the eager code that defines it, bit for bit.

The kernels are compiled afresh here, so that their assembly can be read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numba
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from validator.exact import ExactError, NonFinite, exact, functions, kernels
from validator.exact.fused import kernel_of
from validator.exact.kernels import activations as activation_kernels
from validator.exact.kernels import norms, pointwise, rows
from validator.exact.kernels.build import IEEE, Kernel
from validator.exact.random import Stream
from validator.exact.rules import activations, compound

Call = Callable[[Tensor, Tensor], Any]
"""An operator, called on two tensors of one shape and dtype: the input and the gradient of the result."""

EXPONENTS = (3.0, 0.5, -0.5, 1.0, 7.0, 16.0, 2.5, -1.7, 2.0, 0.0, -3.0, 17.0)


def _function(function: Callable[[Tensor], Tensor]) -> Call:
    """A function of functions.py, on float32 as the operator that rounds it."""
    return lambda x, g: (function if x.dtype == torch.float64 else activations.rounded(function))(x)


def _angle(function: Callable[[Tensor], Tensor]) -> Call:
    return lambda x, g: function(x.double().nan_to_num(0.0).clamp(-(2.0**20), 2.0**20))


def _turns(x: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    wide = x.double().nan_to_num(0.0, 0.0, 0.0)
    return functions.cos_sin_turns(wide - wide.floor())


def _weights(g: Tensor) -> Tensor:
    return g.reshape(-1)[: g.shape[-1]].clone()


def _layer_norm(x: Tensor, g: Tensor) -> tuple[Tensor, ...]:
    w = _weights(g)
    return (
        *compound.layer_norm(x, x.shape[-1:], w, w + 1.0, 1e-5),
        *compound.layer_norm(x, x.shape[-1:], None, w, 1e-5),
        *compound.layer_norm(x, x.shape, None, None, 0.0),
    )


def _layer_norm_backward(x: Tensor, g: Tensor) -> tuple[Tensor | None, ...]:
    mean, scale = x[..., :1].clone(), g[..., :1].abs()
    shape, w = x.shape[-1:], _weights(g)
    return (
        *compound.layer_norm_backward(g, x, shape, mean, scale, w, w, (True, True, True)),
        *compound.layer_norm_backward(g, x, shape, mean, scale, None, None, (True, False, False)),
    )


CALLS: Mapping[str, Call] = {
    "pointwise.exp": _function(functions.exp),
    "pointwise.expm1": _function(functions.expm1),
    "pointwise.sigmoid": _function(functions.sigmoid),
    "pointwise.tanh": _function(functions.tanh),
    "pointwise.log": _function(functions.log),
    "pointwise.log1p": _function(functions.log1p),
    "pointwise.softplus": _function(functions.softplus),
    "pointwise.erf": _function(functions.erf),
    "pointwise.erfc": _function(functions.erfc),
    "pointwise.sqrt": lambda x, g: activations.sqrt(x),
    "pointwise.rsqrt": _function(functions.rsqrt),
    "pointwise.sin": _angle(functions.sin),
    "pointwise.cos": _angle(functions.cos),
    "pointwise.cos_sin_turns": _turns,
    "activations.power": lambda x, g: tuple(activations.power(x, e) for e in EXPONENTS),
    "activations.sigmoid_backward": lambda x, g: activations.sigmoid_backward(g, x),
    "activations.tanh_backward": lambda x, g: activations.tanh_backward(g, x),
    "activations.silu": lambda x, g: activations.silu(x),
    "activations.silu_backward": lambda x, g: activations.silu_backward(g, x),
    "activations.gelu": lambda x, g: tuple(activations.gelu(x, approximate=a) for a in ("none", "tanh")),
    "activations.gelu_backward": lambda x, g: tuple(
        activations.gelu_backward(g, x, approximate=a) for a in ("none", "tanh")
    ),
    "activations.softplus": lambda x, g: (activations.softplus(x), activations.softplus(x, -1.3, -2)),
    "activations.softplus_backward": lambda x, g: (
        activations.softplus_backward(g, x, 1, 20),
        activations.softplus_backward(g, x, -1.3, -2.0),
    ),
    "activations.log_sigmoid": lambda x, g: activations.log_sigmoid(x)[0],
    "activations.log_sigmoid_backward": lambda x, g: activations.log_sigmoid_backward(g, x, x.new_zeros(0)),
    "activations.elu": lambda x, g: (activations.elu(x), activations.elu(x, 1.7, 1.1, 0.6)),
    "activations.elu_backward": lambda x, g: (
        activations.elu_backward(g, 1.7, 1.1, 0.6, False, x),
        activations.elu_backward(g, 1.7, 1.1, 0.6, True, x),
    ),
    "rows.softmax": lambda x, g: compound.softmax(x, -1, False),
    "rows.softmax_backward": lambda x, g: compound.softmax_backward(g, x, -1, x.dtype),
    "rows.log_softmax": lambda x, g: compound.log_softmax(x, -1, False),
    "rows.log_softmax_backward": lambda x, g: compound.log_softmax_backward(g, x, -1, x.dtype),
    "rows.logsumexp": lambda x, g: (compound.logsumexp(x, (-1,)), compound.logsumexp(x, range(x.dim()), True)),
    "norms.layer_norm": _layer_norm,
    "norms.layer_norm_gradients": _layer_norm_backward,
}
"""One call, or a few, for each path in `@fused(path)`."""

DTYPES = (torch.float32, torch.float64)
LAYOUTS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "plain": lambda x: x,
    "reversed": lambda x: x.permute(*range(x.dim() - 1, -1, -1)).contiguous().permute(*range(x.dim() - 1, -1, -1)),
    "channels last": lambda x: x.movedim(1, -1).contiguous().movedim(-1, 1) if x.dim() > 1 else x,
    "every second": lambda x: torch.stack((x, x), -1)[..., 1],
    "cut out": lambda x: torch.cat((x, x, x))[len(x) : 2 * len(x)],
    "expanded": lambda x: x[:1].expand(x.shape),
}
SPECIAL = (0.0, -0.0, math.inf, -math.inf, math.nan, 5e-324, -1e-310, 1e-40, 1.0, -1.0, 3e38, -3e38, 2.0**401, 709.5)


def _kernels() -> list[Kernel]:
    found: list[Kernel] = []
    for module in (pointwise, activation_kernels, rows, norms):
        for value in vars(module).values():
            closed = [cell.cell_contents for cell in getattr(value, "__closure__", None) or ()]
            inside = list(value.values()) if isinstance(value, dict) else [value]
            found += [v for v in (*inside, *closed) if isinstance(v, Kernel)]
    return found


@pytest.fixture(autouse=True, scope="module")
def _fresh() -> Iterator[None]:
    """Code that comes from the disk has no assembly to read."""
    before = {k: k.__dict__.get("compiled") for k in _kernels()}
    for k in before:
        k.__dict__["compiled"] = numba.njit(**IEEE)(k.__wrapped__)
    yield
    for k, compiled in before.items():
        del k.__dict__["compiled"]
        if compiled is not None:
            k.__dict__["compiled"] = compiled


def _values(seed: str, shape: Sequence[int], exponent: int, special: Sequence[float], dtype: torch.dtype) -> Tensor:
    """Normals around 2^exponent, some of them replaced."""
    stream = Stream(b"kernels", seed)
    x = stream.normal(shape).double() * 2.0**exponent
    for value in special:
        x.view(-1)[int(stream.integers(x.numel(), (1,)))] = value
    return x.to(dtype)


def _outcome(call: Call, x: Tensor, g: Tensor) -> Any:
    """The results as a list, or the error's type and text."""
    try:
        result = call(x, g)
    except ExactError as error:
        return type(error), str(error)
    return [r for r in (result if isinstance(result, tuple) else (result,)) if r is not None]


def _bits(x: Tensor) -> Tensor:
    """Bit patterns, with one for every NaN."""
    patterns = x.contiguous().view(torch.int64 if x.dtype == torch.float64 else torch.int32)
    return torch.where(x.isnan(), torch.full_like(patterns, -1), patterns)


def _assert_same(call: Call, x: Tensor, g: Tensor) -> None:
    found = _outcome(call, x, g)
    with kernels.reference():
        expected = _outcome(call, x, g)
    if not (isinstance(found, list) and isinstance(expected, list)):
        assert found == expected
        return
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == theirs.dtype
        assert ours.shape == theirs.shape
        assert torch.equal(_bits(ours), _bits(theirs))


def _strides(x: Tensor) -> list[int]:
    return [stride for size, stride in zip(x.shape, x.stride(), strict=True) if size > 1]


def test_fused_functions__all_of_them__have_a_call_here() -> None:
    found = {kernel_of(v) for module in (functions, activations, compound) for v in vars(module).values()}
    assert found - {None} == set(CALLS)


@pytest.mark.parametrize("path", CALLS)
@settings(max_examples=10, deadline=None)
@given(
    shape=st.lists(st.integers(1, 6), min_size=1, max_size=4).flatmap(
        lambda s: st.sampled_from(([*s[:-1], s[-1]], [*s[:-1], 37 * s[-1]]))
    ),
    layouts=st.tuples(*[st.sampled_from(sorted(LAYOUTS))] * 2),
    exponents=st.tuples(*[st.sampled_from((-1060, -140, -40, -3, 0, 3, 9, 120, 390, 1000))] * 2),
    special=st.lists(st.sampled_from(SPECIAL), max_size=6),
    dtype=st.sampled_from(DTYPES),
)
def test_kernel__any_shape_layout_and_magnitude__same_bits_as_the_eager_code(
    path: str,
    shape: list[int],
    layouts: tuple[str, str],
    exponents: tuple[int, int],
    special: list[float],
    dtype: torch.dtype,
) -> None:
    x, g = (
        LAYOUTS[layout](_values(f"{shape} {i}", shape, exponent, special, dtype))
        for i, (layout, exponent) in enumerate(zip(layouts, exponents, strict=True))
    )
    _assert_same(CALLS[path], x, g)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("path", CALLS)
def test_kernel__ordinary_values__same_bits_and_the_kernel_ran(
    path: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, g = (_values(seed, (7, 301), 1, (0.0, -0.0, 1e-310, -1e-45), dtype) for seed in "xg")
    _assert_same(CALLS[path], x, g)
    module, name = path.split(".")
    entry, ran = getattr(kernels.module(module), name), []
    monkeypatch.setattr(kernels.module(module), name, lambda *a, **k: ran.append(entry(*a, **k)) or ran[-1])
    CALLS[path](x, g)
    # The power of a float64 is a chain of other kernels.
    assert any(r is not None for r in ran) or (path == "activations.power" and dtype == torch.float64)


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
@pytest.mark.parametrize("path", [p for p in CALLS if "norm" not in p and "logsumexp" not in p])
def test_kernel__operands_of_one_layout__strides_of_the_eager_code(path: str, layout: str) -> None:
    x, g = (LAYOUTS[layout](_values(seed, (3, 4, 5, 6), 0, (), torch.float32)) for seed in "xg")
    found = _outcome(CALLS[path], x, g)
    with kernels.reference():
        expected = _outcome(CALLS[path], x, g)
    assert [_strides(r) for r in found] == [_strides(r) for r in expected]


UNARY = [p for p in CALLS if p.startswith("pointwise.") or p in {f"activations.{n}" for n in ("silu", "gelu", "elu")}]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("path", UNARY)
def test_unary_kernel__over_all_exponents__same_bits_as_the_eager_code(path: str, dtype: torch.dtype) -> None:
    if dtype == torch.float32:
        x = torch.arange(-(2**31), 2**31, 16381, dtype=torch.int64).to(torch.int32).view(dtype)
    else:
        x = torch.arange(-(2**63), 2**63 - 2**46, 2**46 - 987654321, dtype=torch.int64).view(dtype)
    _assert_same(CALLS[path], x, x)


@pytest.mark.parametrize("largest", [2.0**200, 2.0**400 * (1 - 2.0**-53), 2.0**400, 2.0**-400, 2.0**-410])
@pytest.mark.parametrize("path", [p for p in CALLS if p.startswith(("rows.", "norms."))])
def test_row_kernel__magnitude_at_a_limit_of_the_grids__same_bits_or_refusal(path: str, largest: float) -> None:
    signs = torch.tensor([[1.0, -1.0] * 25, [1.0, 1.0, -1.0, -1.0, 0.0] * 10], dtype=torch.float64)
    _assert_same(CALLS[path], signs * largest, torch.ones_like(signs))
    _assert_same(CALLS[path], torch.ones_like(signs), signs * largest)


def test_sqrt__beside_squares_and_midpoints__correctly_rounded() -> None:
    """numpy's square root is the processor's; near squares of doubles and of midpoints the last bit is hard to get."""
    words = torch.from_numpy(Stream(b"sqrt", "kernel").words(100_000).astype(np.float64))
    root = 1.0 + words * 2.0**-32
    square = root * root
    near = torch.cat([square.view(torch.int64) + d for d in (-2, -1, 0, 1, 2)]).view(torch.float64)
    x = torch.cat([near, near * 2.0**-1060, near * 2.0**1000])
    found = functions.sqrt(x)
    with kernels.reference():
        assert torch.equal(functions.sqrt(x), found)
    assert np.array_equal(found.numpy(), np.sqrt(x.numpy()))


@pytest.mark.parametrize("bad", [math.inf, math.nan])
@pytest.mark.parametrize("path", ["rows.softmax", "rows.log_softmax", "rows.logsumexp", "norms.layer_norm"])
def test_row_kernel__value_that_is_not_finite__refused(path: str, bad: float) -> None:
    x = _values("bad", (3, 40), 0, (bad,), torch.float32)
    with pytest.raises(NonFinite, match=r"aten\."):
        CALLS[path](x, torch.ones_like(x))


def test_softmax__some_scores_minus_infinity__weights_zero() -> None:
    x = _values("mask", (4, 50), 0, (), torch.float32)
    x[:, 20:] = -math.inf
    _assert_same(CALLS["rows.softmax"], x, x)
    assert compound.softmax(x, -1, False)[:, 20:].count_nonzero() == 0


@pytest.mark.parametrize("path", [p for p in CALLS if p.startswith(("rows.", "norms."))])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_row_kernel__longer_than_float64_sums_take__same_bits_as_the_eager_code(path: str, dtype: torch.dtype) -> None:
    x, g = (_values(seed, (3, 5003), 3, (), dtype) for seed in "xg")
    _assert_same(CALLS[path], x, g)


@pytest.mark.parametrize("path", ["activations.gelu", "rows.softmax", "norms.layer_norm_gradients"])
def test_kernel__one_thread_or_several__same_bits(path: str) -> None:
    x, g = (_values(seed, (301, 1009), 0, (), torch.float32) for seed in "xg")
    threads = torch.get_num_threads()
    results = []
    try:
        for n in (1, 2, 3):
            torch.set_num_threads(n)
            results.append([_bits(r) for r in _outcome(CALLS[path], x, g)])
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def _loss(w: Tensor, x: Tensor) -> Tensor:
    h = functional.gelu(functional.layer_norm(x * w, x.shape[-1:], w, w))
    return (functional.log_softmax(functional.silu(h), -1) * torch.tanh(h).softmax(-1)).sum()


def test_gradients__each_by_itself_or_under_vmap__same_bits_as_the_eager_code() -> None:
    w = _values("w", (19,), 0, (), torch.float32)
    x = _values("x", (6, 5, 19), 0, (), torch.float32)
    each = torch.func.vmap(torch.func.grad(_loss), in_dims=(None, 0))
    with exact():
        together = each(w, x)
        alone = torch.stack([torch.func.grad(_loss)(w, v) for v in x])
        with kernels.reference():
            reference = each(w, x)
    assert torch.equal(_bits(together), _bits(reference))
    assert torch.equal(_bits(together), _bits(alone))


def test_backward__several_gradients_for_one_input__same_bits_as_the_eager_code() -> None:
    """vmap over gradients alone: they have an axis that the saved tensors lack."""
    x = _values("x", (7, 19), 0, (), torch.float32)
    grads = _values("g", (4, 7, 19), 0, (), torch.float32)

    def pulled() -> Tensor:
        for f in (functional.gelu, torch.tanh, lambda v: v.softmax(-1), lambda v: functional.layer_norm(v, (19,))):
            leaf = x.clone().requires_grad_()
            with exact():
                result = f(leaf)
                yield torch.func.vmap(lambda g, r=result, v=leaf: torch.autograd.grad(r, v, g, retain_graph=True)[0])(
                    grads
                )

    found = list(pulled())
    with kernels.reference():
        expected = list(pulled())
    assert all(torch.equal(_bits(a), _bits(b)) for a, b in zip(found, expected, strict=True))


def test_assembly__of_every_kernel__holds_no_fused_multiply_add() -> None:
    for path in CALLS:
        for dtype in DTYPES:
            x = _values(path, (3, 40), 0, (), dtype)
            _outcome(CALLS[path], x, x)
    for k in _kernels():
        assert k.assembly(), k.__qualname__
        for text in k.assembly():
            assert "ret" in text
            assert not re.search(r"\bvfn?m(add|sub)", text)
