"""Values on their way between a node and its workers.

A value is pickled by torch, tensors as plain bytes, and lands on the device of whoever reads it. Unpickling runs code,
so only bytes that this process or its own worker wrote are ever read: over a pipe between the two, or authenticated
under a key that only they have. With Ray nothing else than such ciphertext enters the object store, so neither shared
memory, nor what Ray spills to a disk, nor a network ever holds plaintext.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from types import FunctionType
from typing import Any

import torch
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from validator.engines.errors import EngineError

KEY_BYTES = 32
_ROOM = "validator.influence."
_NONCE_BYTES, _PIECE = 12, 2**30
"""AES-GCM takes less than 2 GiB at once."""


def pack(value: object) -> bytes:
    """A value as bytes, whatever device its tensors are on."""
    with io.BytesIO() as file:
        torch.save(value, file, pickle_protocol=5)
        return file.getvalue()


def unpack(data: bytes, device: torch.device | str = "cpu") -> Any:  # noqa: ANN401 - whatever was packed
    """The value, its tensors on `device`. Only for bytes of this process or of its own workers."""
    with io.BytesIO(data) as file:
        return torch.load(file, map_location=device, weights_only=False)


class Sealer:
    """AES-256-GCM under a key of one session. Nonces are random: far fewer than 2^32 messages a session."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def seal(self, data: bytes, purpose: str) -> bytes:
        """Ciphertext that opens for the same `purpose` only."""
        view, count = memoryview(data), -(-len(data) // _PIECE) or 1
        pieces = []
        for piece in range(count):
            nonce = os.urandom(_NONCE_BYTES)
            body = view[piece * _PIECE : (piece + 1) * _PIECE]
            pieces.append(nonce + self._cipher.encrypt(nonce, body, _label(purpose, piece, count)))
        return b"".join(pieces)

    def open(self, sealed: bytes, purpose: str) -> bytes:
        """The inverse of `seal`. Raises EngineError for anything that was not sealed so."""
        size = _NONCE_BYTES + _PIECE + 16
        view, count = memoryview(sealed), -(-len(sealed) // size) or 1
        pieces = []
        for piece in range(count):
            body = view[piece * size : (piece + 1) * size]
            try:
                nonce, rest = bytes(body[:_NONCE_BYTES]), body[_NONCE_BYTES:]
                pieces.append(self._cipher.decrypt(nonce, rest, _label(purpose, piece, count)))
            except (InvalidTag, ValueError):
                raise EngineError(
                    f"a {purpose} of this node's workers does not authenticate: somebody else writes to the Ray cluster"
                ) from None
        return b"".join(pieces)


def _label(purpose: str, piece: int, count: int) -> bytes:
    return f"poc-engine/1 {purpose} {piece}/{count}".encode()


def name_of(task: Callable[..., object]) -> tuple[str, str]:
    """Module and name of a task: the only code that a worker is ever told to run is that of `validator.influence`."""
    module, name = task.__module__, task.__qualname__
    if not module.startswith(_ROOM) or "." in name or "<" in name:
        raise EngineError(f"internal error: {module}.{name} is no task")
    return module, name


def task_of(module: str, name: str) -> Callable[..., Any]:
    """The function that `name_of` named."""
    found = getattr(import_module(module), name, None) if module.startswith(_ROOM) else None
    if not isinstance(found, FunctionType):
        raise EngineError(f"internal error: {module}.{name} is no task")
    return found


@dataclass(frozen=True, slots=True)
class Raised:
    """An exception as data: constructors of exceptions need not take what `args` holds."""

    kind: type[Exception]
    args: tuple[object, ...]
    state: dict[str, object]

    @classmethod
    def of(cls, error: Exception) -> Raised:
        """What `error` is."""
        return cls(type(error), error.args, dict(error.__dict__))

    def error(self) -> Exception:
        """The same exception again."""
        found = self.kind.__new__(self.kind, *self.args)
        found.args = self.args
        found.__dict__.update(self.state)
        return found
