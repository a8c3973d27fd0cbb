"""Transposed convolutions: the gradient of a plain one in its input, and what second derivatives ask for."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.func import vjp
from torch.nn import functional as F

from validator.exact import exact
from validator.exact.random import Stream

SETTINGS = [
    {"stride": 1, "padding": 0},
    {"stride": 2, "padding": 1, "output_padding": 1},
    {"stride": 2, "padding": 2, "dilation": 2, "groups": 2},
]


def tensors(sides: int) -> tuple[Tensor, Tensor, Tensor]:
    stream = Stream(b"transposed", str(sides))
    return stream.normal((3, 4, *(5, 7)[:sides])), stream.normal((4, 6, *(3, 3)[:sides])), stream.normal((6,))


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("sides", [1, 2])
def test_conv_transpose__settings__is_torchs_in_float64(settings: dict[str, int], sides: int) -> None:
    x, weight, bias = tensors(sides)
    bias = bias.repeat(settings.get("groups", 1))
    run = (F.conv_transpose1d, F.conv_transpose2d)[sides - 1]
    with exact():
        found = run(x, weight, bias, **settings)
    assert torch.allclose(found.double(), run(x.double(), weight.double(), bias.double(), **settings), atol=1e-5)


def test_conv_transpose__record_alone__has_the_bits_it_has_in_a_batch() -> None:
    x, weight, _ = tensors(2)
    with exact():
        whole = F.conv_transpose2d(x, weight, stride=2)
        assert torch.equal(torch.cat([F.conv_transpose2d(one, weight, stride=2) for one in x.split(1)]), whole)


def test_convolution__reverse_mode_twice__is_the_directional_derivative() -> None:
    x, weight, direction = (Stream(b"transposed", name).normal(shape) for name, shape in
                            (("x", (2, 3, 6, 6)), ("w", (4, 3, 3, 3)), ("v", (4, 3, 3, 3))))  # fmt: skip
    with exact():
        out, pull = vjp(lambda w: F.conv2d(x, w, padding=1), weight)
        push = vjp(lambda cotangent: pull(cotangent)[0], torch.zeros_like(out))[1]
        found = push(direction)[0]
    assert torch.allclose(found, F.conv2d(x, direction, padding=1), atol=1e-5)
