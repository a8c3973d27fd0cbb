"""The canonical bytes of tensors."""

from __future__ import annotations

import hashlib
import struct

import pytest
import torch

from validator.exact import ExactError, NonFinite, exact
from validator.exact.digest import digest

X = torch.tensor([[1.0, -2.5], [0.0, 3.0]])


def test_digest__small_tensor__sha256_of_the_documented_bytes() -> None:
    body = b"T" + b"float32\x00" + struct.pack("<QQQ", 2, 2, 2) + struct.pack("<4f", 1.0, -2.5, 0.0, 3.0)
    assert digest(X) == hashlib.sha256(body).digest()


def test_digest__layout_and_sign_of_zero__do_not_count() -> None:
    assert digest(X) == digest(X.t().contiguous().t()) == digest(torch.tensor([[1.0, -2.5], [-0.0, 3.0]]))


def test_digest__dtype_shape_and_values__all_count() -> None:
    others = [X.double(), X.view(4), X + 1, X.bfloat16(), X.half(), X.long(), {"x": X}, [X]]
    assert len({digest(value) for value in [X, *others]}) == 9


def test_digest__mapping__order_of_insertion_does_not_count() -> None:
    assert digest({"a": X, "b": X + 1}) == digest({"b": X + 1, "a": X})
    assert digest({"a": X, "b": X + 1}) != digest({"a": X + 1, "b": X})


def test_digest__nesting__cannot_be_confused() -> None:
    assert digest([X, [X]]) != digest([[X], X])
    assert digest([[], [X]]) != digest([[X], []])


@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
def test_digest__infinity_or_nan__refused(bad: float) -> None:
    with pytest.raises(NonFinite, match="digest"):
        digest(torch.tensor([1.0, bad]))


@pytest.mark.parametrize("value", ["text", 3, None, torch.tensor([1j]), torch.eye(2).to_sparse()])
def test_digest__without_canonical_bytes__refused(value: object) -> None:
    with pytest.raises(ExactError, match="canonical bytes"):
        digest(value)  # type: ignore[arg-type]


def test_digest__inside_exact_and_with_gradients__same() -> None:
    with exact():
        assert digest({"x": X.clone().requires_grad_(), "n": torch.tensor(3), "b": torch.tensor(True)}) == digest(
            {"x": X, "n": torch.tensor(3), "b": torch.tensor(True)}
        )
