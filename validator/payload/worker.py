"""The parsing worker: a fresh interpreter that gives up its rights, then forks once for every payload.

It is spawned, so that it holds nothing of the node's memory, and it never looks at a payload itself: it takes a request
and a socket from the node, forks, and the child gives up the rest of its rights, reads the payload from that socket,
answers on it, and ends. So a worker serves ten thousand payloads at the cost of a fork each, a child that was taken
over cannot touch the next payload, and all of its memory goes when it ends.

Control, on standard input, a Unix socket: the worker says `u32 length | JSON Held` once; then for each payload the node
sends one byte with a socket attached and `u32 length | JSON request`, and is told `u32 length | JSON Ended` when the
child has ended. The attached socket carries `u64 length | payload` in, and `u32 length | JSON status`, `u64 length |
canonical safetensors` (empty unless parsed) out. The request is ours and trusted; what a child answers is not.

Keep this module light: NumPy and msgspec, never torch.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

import msgspec

from validator.payload.errors import Malformed
from validator.payload.frames import read_frame, reader, write_frame, writer
from validator.payload.jsonl import parse_jsonl
from validator.payload.safetensors_format import encode_safetensors, parse_safetensors
from validator.payload.sandbox import Held, confine, leave_the_network
from validator.payload.schema import TARGETS, Parsed, Schema

PARSERS = {"safetensors": parse_safetensors, "jsonl": parse_jsonl}
MAX_REQUEST = 1 << 20
CONTROL = 0


@dataclass(frozen=True, slots=True)
class Limits:
    """What a payload may use: processor seconds, wall-clock seconds, and memory in bytes (address space)."""

    cpu_seconds: int = 60
    wall_seconds: float = 90.0
    memory: int = 1 << 30
    """On top of four times the payload and its arrays."""

    def __post_init__(self) -> None:
        if self.cpu_seconds < 1 or self.wall_seconds <= 0 or self.memory < 0:  # setrlimit takes -1 for "no limit"
            raise ValueError("the worker's limits must be positive")


@dataclass(frozen=True, slots=True)
class Request:
    """What the node asks for. In bytes: `size` of what is sent, `address_space`, and `plain`, the most that a payload
    within it may hold (0: no more than `size`).
    """

    format: str
    schema: Schema
    size: int
    cpu_seconds: int
    wall_seconds: float
    address_space: int
    plain: int = 0


@dataclass(frozen=True, slots=True)
class Status:
    """What a child says. `kind` is parsed, malformed or fault; `code` is of Malformed."""

    kind: str
    code: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child ended: its exit status, negative for a signal, and whether its time was up."""

    status: int
    late: bool


Child = Callable[[int, Request], None]


def main(child: Child | None = None) -> int:
    """Serve requests on standard input until it closes. Returns the exit status. `child` does the work of one payload;
    tests put a hostile one in its place.
    """
    held = leave_the_network()
    work = child or answer
    with socket.socket(fileno=CONTROL) as control:
        _tell(msgspec.json.encode(held))
        gc.collect()
        gc.freeze()  # else the collector would write to, and so copy, every page that a child shares with us
        while True:
            _, descriptors, _, _ = socket.recv_fds(control, 1, 1)
            if not descriptors:
                return 0
            request = msgspec.json.decode(read_frame(reader(CONTROL), 4, MAX_REQUEST), type=Request)
            _tell(msgspec.json.encode(_serve(descriptors[0], request, held, work)))


def answer(pipe: int, request: Request) -> None:
    """Read one payload from `pipe` and say what it holds."""
    tell(pipe, *parsed(request, read_frame(reader(pipe), 8, request.size)))


def tell(pipe: int, status: Status, body: bytes) -> None:
    """A child's answer."""
    write_frame(writer(pipe), 4, msgspec.json.encode(status))
    write_frame(writer(pipe), 8, body)


def _serve(pipe: int, request: Request, held: Held, work: Child) -> Ended:
    alive, lifeline = os.pipe()
    deadline = time.monotonic() + request.wall_seconds
    child = os.fork()
    if child == 0:
        _child(pipe, lifeline, request, held, work)
    os.close(pipe)
    os.close(lifeline)
    # Readable once the child's end is closed, by its end or by itself, or once the node has gone.
    ready, _, _ = select.select([alive, CONTROL], [], [], max(0.0, deadline - time.monotonic()))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    os.close(alive)
    return Ended(os.waitstatus_to_exitcode(status), late=not ready)


def _child(pipe: int, lifeline: int, request: Request, held: Held, work: Child) -> NoReturn:
    status = 1
    try:
        for descriptor in set(range(16)) - {pipe, lifeline}:
            try:
                os.close(descriptor)
            except OSError:
                continue  # was not open
        confine(held, request.cpu_seconds, request.address_space)
        work(pipe, request)
        status = 0
    finally:
        os._exit(status)  # no way back into the worker's loop, whatever was raised


def parsed(request: Request, payload: bytes | bytearray) -> tuple[Status, bytes]:
    """What a child says of a payload, and its records as canonical safetensors."""
    try:
        found: Parsed = PARSERS[request.format](payload, request.schema)
        inputs = {name: array for name, array in found.arrays.items() if name != TARGETS}
        return Status("parsed"), encode_safetensors(inputs, found.targets)
    except Malformed as error:
        return Status("malformed", error.code, str(error)), b""
    except Exception as error:  # noqa: BLE001 - whatever it is, it is our fault, and the node must hear it
        return Status("fault", "", type(error).__name__), b""


def _tell(body: bytes) -> None:
    write_frame(writer(CONTROL), 4, body)
