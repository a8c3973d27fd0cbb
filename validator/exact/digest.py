"""One name for equal values: sha256 over canonical bytes of tensors, and of mappings and sequences of them.

    tensor    "T" dtype 0x00 rank sizes... bytes    sizes: 8 bytes each, little-endian; elements likewise, in row order
    mapping   "M" count (length key value)...       keys are text in UTF-8, in ascending order of their bytes
    sequence  "S" count value...

-0.0 counts as 0.0. Infinity and NaN are refused: they have no canonical meaning in a score.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from validator.exact.errors import ExactError, NonFinite

Values: TypeAlias = "Tensor | Mapping[str, Values] | Sequence[Values]"


def digest(values: Values) -> bytes:
    """32 bytes. Raises NonFinite; ExactError for dtypes and structures that have no canonical bytes."""
    state = hashlib.sha256()
    for part in _parts(values):
        state.update(part)
    return state.digest()


def _parts(values: Values) -> Iterator[bytes]:
    if isinstance(values, Tensor):
        yield from _tensor(values)
    elif isinstance(values, Mapping):
        yield b"M" + _size(len(values))
        for key in sorted(values, key=str.encode):
            yield _size(len(key.encode())) + key.encode()
            yield from _parts(values[key])
    elif isinstance(values, list | tuple):
        yield b"S" + _size(len(values))
        for value in values:
            yield from _parts(value)
    else:
        raise ExactError(f"a {type(values).__name__} has no canonical bytes; pass tensors, mappings or sequences")


def _size(n: int) -> bytes:
    return n.to_bytes(8, "little")


def _tensor(value: Tensor) -> Iterator[bytes]:
    name = str(value.dtype).removeprefix("torch.")
    plain = value.detach().cpu()
    if plain.dtype in (torch.bfloat16, torch.float16):
        plain = plain.to(torch.float32)  # exact, and the name tells them apart
    if plain.is_complex() or plain.is_quantized or plain.layout != torch.strided:
        raise ExactError(f"a tensor of {value.dtype} ({value.layout}) has no canonical bytes")
    array = np.ascontiguousarray(plain.numpy())
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            raise NonFinite("digest", "a value is infinite or NaN and has no canonical bytes")
        array = array + array.dtype.type(0)
    yield b"T" + name.encode() + b"\x00" + _size(value.dim()) + b"".join(map(_size, value.shape))
    yield array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
