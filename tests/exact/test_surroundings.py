"""Settings of torch around exact(): what changes results is refused, what chooses a kernel is switched and put back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from validator.exact import ExactError, UnsupportedOp, exact
from validator.exact.random import Stream

X = torch.linspace(0.1, 1.0, 16).view(4, 4)


def _flags() -> tuple[bool, ...]:
    cuda = torch.backends.cuda
    return (
        cuda.flash_sdp_enabled(),
        cuda.mem_efficient_sdp_enabled(),
        cuda.cudnn_sdp_enabled(),
        cuda.math_sdp_enabled(),
        torch.backends.mha.get_fastpath_enabled(),
    )


PLAIN = (False, False, False, True, False)


@contextmanager
def _flash(enabled: bool) -> Iterator[None]:
    before = torch.backends.cuda.flash_sdp_enabled()
    torch.backends.cuda.enable_flash_sdp(enabled)
    try:
        yield
    finally:
        torch.backends.cuda.enable_flash_sdp(before)


@pytest.mark.parametrize("flash", [True, False])
def test_attention__entered_nested_and_left__settings_as_found(flash: bool) -> None:
    with _flash(flash):
        before = _flags()
        with exact():
            assert _flags() == PLAIN
            with exact():
                pass
            assert _flags() == PLAIN
        assert _flags() == before


def test_attention__left_by_an_error__settings_as_found() -> None:
    before = _flags()
    with pytest.raises(UnsupportedOp), exact():
        torch.digamma(X)
    assert _flags() == before


def test_attention__two_threads_inside__settings_return_with_the_last() -> None:
    before = _flags()
    inside, leave = threading.Event(), threading.Event()
    seen: list[tuple[bool, ...]] = []

    def other() -> None:
        with exact():
            inside.set()
            assert leave.wait(30)
            seen.append(_flags())

    thread = threading.Thread(target=other)
    with exact():
        thread.start()
        assert inside.wait(30)
    assert _flags() == PLAIN
    leave.set()
    thread.join(30)
    assert seen == [PLAIN]
    assert _flags() == before


def _loss(q: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, q, q, is_causal=True).square().sum()


def test_attention__plain_no_grad_inference_and_vmap__one_result() -> None:
    q = Stream(b"attention", "q").normal((3, 2, 5, 8))
    leaf = q.clone().requires_grad_()
    attend = lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True)  # noqa: E731
    with exact():
        result = attend(leaf)
        result.square().sum().backward()
        with torch.no_grad():
            assert torch.equal(attend(q), result)
        with torch.inference_mode():
            assert torch.equal(attend(q).clone(), result)
        assert torch.equal(torch.vmap(attend)(q), result)
        gradients = torch.vmap(torch.func.grad(_loss))(q)
    assert torch.equal(gradients, leaf.grad)


@pytest.mark.parametrize("training", [True, False])
def test_encoder_layer__of_torch__fast_path_off_and_same_bits(training: bool) -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True).train(training)
    x = Stream(b"encoder", "x").normal((3, 5, 8))
    with exact():
        recorded = layer(x).detach()
        with torch.no_grad():
            assert torch.equal(layer(x), recorded)
        with torch.inference_mode():
            assert torch.equal(layer(x).clone(), recorded)


def test_denormals__flushed_before__refused_on_entry() -> None:
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot flush denormals")
    try:
        with pytest.raises(ExactError, match="denormal"), exact():
            raise AssertionError("entered")
    finally:
        torch.set_flush_denormal(False)


def test_denormals__flushed_inside__refused_at_the_next_operator() -> None:
    with exact():
        if not torch.set_flush_denormal(True):
            pytest.skip("this processor cannot flush denormals")
        try:
            with pytest.raises(ExactError, match=r"denormal.*aten\.mul"):
                torch.mul(X, X)
        finally:
            torch.set_flush_denormal(False)
        assert torch.equal(X * X, X.square())


def test_autocast__before__refused_on_entry() -> None:
    with torch.autocast("cpu"), pytest.raises(ExactError, match="autocast"), exact():
        raise AssertionError("entered")


def test_autocast__inside__refused_where_it_casts_and_named() -> None:
    layer = nn.Linear(4, 4)
    with exact(), torch.autocast("cpu"), pytest.raises(UnsupportedOp, match=r"aten\.addmm.*autocast.*Linear"):
        layer(X)


def test_autocast__inside_but_off__half_precision_is_not_blamed_on_it() -> None:
    with exact(), pytest.raises(UnsupportedOp, match="convert to float32"):
        torch.mm(X.bfloat16(), X.bfloat16())


@contextmanager
def _precision(name: str) -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(name)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("name", ["high", "medium"])
def test_precision__reduced_before__refused_on_entry(name: str) -> None:
    with _precision(name), pytest.raises(ExactError, match="TF32"), exact():
        raise AssertionError("entered")


@pytest.mark.parametrize("backend", ["cuda", "mkldnn"])
def test_precision__reduced_by_the_newer_settings__refused_on_entry(backend: str) -> None:
    settings = getattr(getattr(torch.backends, backend), "matmul", None)
    if not hasattr(settings, "fp32_precision"):
        pytest.skip("this torch has no setting for each backend")
    settings.fp32_precision = "tf32" if backend == "cuda" else "bf16"
    try:
        with pytest.raises(ExactError, match="TF32"), exact():
            raise AssertionError("entered")
    finally:
        settings.fp32_precision = "ieee"


def test_precision__reduced_inside__changes_no_bit() -> None:
    x = Stream(b"precision", "x").normal((40, 40))
    with exact():
        expected = x @ x
        with _precision("medium"):
            assert torch.equal(x @ x, expected)


def test_convolutions__own_tf32_flag_of_cudnn__is_of_no_concern() -> None:
    assert torch.backends.cudnn.allow_tf32
    with exact():
        assert torch.equal(X * 1.0, X)


@pytest.mark.parametrize(
    "enter", [lambda: torch.autocast("cpu"), lambda: _precision("high")], ids=["autocast", "precision"]
)
def test_settings__refused_on_entry__nothing_is_left_switched(enter: Callable[[], Iterator[None]]) -> None:
    before = _flags()
    with enter(), pytest.raises(ExactError), exact():
        raise AssertionError("entered")
    assert _flags() == before
    assert torch.rand(1).shape == (1,)
