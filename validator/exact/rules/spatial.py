"""Windows over the last two dimensions: how convolutions and pooling see an image.

The adjoint of taking windows (`fold`) adds kernel offset by kernel offset, row by row: each is one rounded float64
addition per element, and their order is that of the kernel, whatever the batch or the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class Window:
    """How a kernel slides over the last two dimensions: sizes in pixels, each (vertical, horizontal)."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int] = (1, 1)
    partial: bool = False
    """ceil_mode: a last window may reach beyond the padding, if it starts inside of it."""

    def outputs(self, size: Sequence[int]) -> tuple[int, int]:
        """Number of positions over an image of `size`."""
        return self._along(0, size[0]), self._along(1, size[1])

    def _along(self, axis: int, size: int) -> int:
        room = size + 2 * self.padding[axis] - self.dilation[axis] * (self.kernel[axis] - 1) - 1
        step = self.stride[axis]
        if not self.partial:
            return room // step + 1
        number = -(-room // step) + 1
        return number - 1 if (number - 1) * step >= size + self.padding[axis] else number

    def overhang(self, size: Sequence[int]) -> tuple[int, int]:
        """Pixels that the last windows need beyond the padding, vertically and horizontally."""
        beyond = (
            (n - 1) * self.stride[i] + self.dilation[i] * (self.kernel[i] - 1) + 1 - size[i] - 2 * self.padding[i]
            for i, n in enumerate(self.outputs(size))
        )
        vertical, horizontal = (max(b, 0) for b in beyond)
        return vertical, horizontal


def pair(values: Sequence[int], default: Sequence[int] | None = None) -> tuple[int, int]:
    """(vertical, horizontal) of a size that may be given as one number, or not at all."""
    chosen = list(values) or list(default or ())
    return (chosen[0], chosen[0]) if len(chosen) == 1 else (chosen[0], chosen[1])


def windows(x: Tensor, w: Window, fill: float) -> Tensor:
    """(..., H, W) to a view (..., kh, kw, Ho, Wo) of a copy padded with `fill`."""
    (vertical, horizontal), (below, right) = w.padding, w.overhang(x.shape[-2:])
    padded = functional.pad(x, (horizontal, horizontal + right, vertical, vertical + below), value=fill).contiguous()
    high, wide = w.outputs(x.shape[-2:])
    *lead, row, column = padded.stride()
    return padded.as_strided(
        (*x.shape[:-2], *w.kernel, high, wide),
        (*lead, row * w.dilation[0], column * w.dilation[1], row * w.stride[0], column * w.stride[1]),
    )


def fold(columns: Tensor, w: Window, size: Sequence[int]) -> Tensor:
    """The adjoint of `windows`: float64 (..., kh, kw, Ho, Wo) to (..., H, W)."""
    (vertical, horizontal), (high, wide), (below, right) = w.padding, w.outputs(size), w.overhang(size)
    whole = (size[0] + 2 * vertical + below, size[1] + 2 * horizontal + right)
    padded = columns.new_zeros((*columns.shape[:-4], *whole))
    for i in range(w.kernel[0]):
        top = i * w.dilation[0]
        rows = padded[..., top : top + (high - 1) * w.stride[0] + 1 : w.stride[0], :]
        for j in range(w.kernel[1]):
            left = j * w.dilation[1]
            rows[..., left : left + (wide - 1) * w.stride[1] + 1 : w.stride[1]].add_(columns[..., i, j, :, :])
    return padded[..., vertical : vertical + size[0], horizontal : horizontal + size[1]]
