"""The parsing worker: a fresh interpreter that gives up its rights, reads one payload, answers, and ends.

Frames on stdin and stdout, lengths little-endian: `u32 length | JSON request`, then `u64 length | payload`; answered by
`u32 length | JSON status`, then `u64 length | canonical safetensors` (empty unless parsed). The request is ours and
trusted; the payload is not, and once it has been parsed, neither is this process.

Keep this module light: it starts once a contribution. NumPy and msgspec, never torch.
"""

from __future__ import annotations

import ctypes
import resource
import sys
from dataclasses import dataclass
from typing import IO

import msgspec

from validator.payload.errors import Malformed
from validator.payload.jsonl import parse_jsonl
from validator.payload.safetensors_format import encode_safetensors, parse_safetensors
from validator.payload.schema import TARGETS, Parsed, Schema

PARSERS = {"safetensors": parse_safetensors, "jsonl": parse_jsonl}
_PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 4, 38  # linux/prctl.h


@dataclass(frozen=True, slots=True)
class Limits:
    """What the worker may use: processor seconds, wall-clock seconds, and memory in bytes (address space)."""

    cpu_seconds: int = 60
    wall_seconds: float = 90.0
    memory: int = 1 << 30
    """On top of four times the payload and its arrays."""

    def __post_init__(self) -> None:
        if self.cpu_seconds < 1 or self.wall_seconds <= 0 or self.memory < 0:  # setrlimit takes -1 for "no limit"
            raise ValueError("the worker's limits must be positive")


@dataclass(frozen=True, slots=True)
class Request:
    """What the parent asks for. `address_space` in bytes."""

    format: str
    schema: Schema
    cpu_seconds: int
    address_space: int


@dataclass(frozen=True, slots=True)
class Status:
    """What the worker says. `kind` is parsed, malformed or fault; `code` is of Malformed."""

    kind: str
    code: str = ""
    message: str = ""


def main() -> int:
    """Serve one request on stdin and stdout. Returns the exit status."""
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    request = msgspec.json.decode(read_frame(source, 4, 1 << 20), type=Request)
    _give_up_rights(request)
    status, body = _answer(request, read_frame(source, 8, request.schema.max_bytes))
    write_frame(sink, 4, msgspec.json.encode(status))
    write_frame(sink, 8, body)
    sink.flush()
    return 0


def read_frame(source: IO[bytes], prefix: int, limit: int) -> bytearray:
    """One frame of at most `limit` bytes after a length of `prefix` bytes.

    Raises EOFError when cut, ValueError beyond.
    """
    length = int.from_bytes(_read(source, prefix), "little")
    if length > limit:
        raise ValueError(f"a frame of {length} bytes: at most {limit} are allowed")
    return _read(source, length)


def write_frame(sink: IO[bytes], prefix: int, body: bytes) -> None:
    """One frame with a length of `prefix` bytes."""
    sink.write(len(body).to_bytes(prefix, "little"))
    sink.write(body)


def _read(source: IO[bytes], size: int) -> bytearray:
    body = bytearray()
    while len(body) < size:
        piece = source.read(min(size - len(body), 1 << 20))
        if not piece:
            raise EOFError(f"cut after {len(body)} of {size} bytes")
        body += piece
    return body


def _answer(request: Request, payload: bytearray) -> tuple[Status, bytes]:
    try:
        parsed: Parsed = PARSERS[request.format](payload, request.schema)
        inputs = {name: array for name, array in parsed.arrays.items() if name != TARGETS}
        return Status("parsed"), encode_safetensors(inputs, parsed.targets)
    except Malformed as error:
        return Status("malformed", error.code, str(error)), b""
    except Exception as error:  # noqa: BLE001 - whatever it is, it is our fault, and the parent must hear it
        return Status("fault", "", type(error).__name__), b""


def _give_up_rights(request: Request) -> None:
    """No memory, time, files or core dumps beyond the need; no debugger; plaintext cannot reach the disk."""
    limits = {
        resource.RLIMIT_AS: request.address_space,
        resource.RLIMIT_CPU: request.cpu_seconds,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: 16,
    }
    for which, value in limits.items():
        _, hard = resource.getrlimit(which)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(which, (value, value))
    if sys.platform == "linux":
        library = ctypes.CDLL(None)
        library.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
        library.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
