"""Parsing a stranger's payload, from the side of the node: spawn, feed, time, and believe nothing."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import msgspec

from validator.payload.errors import CODES, Malformed, WorkerFault
from validator.payload.frames import Read, read_frame, write_frame
from validator.payload.safetensors_format import MAX_HEADER, parse_safetensors
from validator.payload.sandbox import Held
from validator.payload.schema import Parsed, Schema, check_bytes, padded_limit
from validator.payload.worker import PARSERS, Ended, Limits, Request, Status

FORMATS = tuple(PARSERS)
TRIES = 2
"""Tries of one payload. Later ones have twice the memory and time: what fails here says nothing about the data."""

_STATUS_BYTES = 4096
_START_SECONDS = 60.0
_GRACE_SECONDS = 10.0
_START = "import importlib, sys; sys.path.append(sys.argv[1]); sys.exit(importlib.import_module(sys.argv[2]).main())"
PROGRAM = "validator.payload.worker"

Alarm = Callable[[WorkerFault], None]
Buffer = Any
Made = Callable[[Limits], Request]
T = TypeVar("T")
Accept = Callable[[Request, Status, bytearray], T]


def parse(data: bytes, fmt: str, schema: Schema, limits: Limits | None = None) -> Parsed:
    """One payload, in a worker of its own; see `ParsingWorker.parse`."""
    with ParsingWorker() as worker:
        return worker.parse(data, fmt, schema, limits)


class ParsingWorker:
    """A worker process that serves any number of payloads, one after another; started when it is first needed, and
    again after a fault. `alarm` hears of every fault, also of those that a second try mends. `program`: the module
    whose `main` the process runs. For any thread; close it.
    """

    def __init__(self, alarm: Alarm | None = None, program: str = PROGRAM) -> None:
        self._alarm = alarm
        self._program = program
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self.held = Held()
        self.faults = 0

    def __enter__(self) -> ParsingWorker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._end()

    def parse(self, data: bytes, fmt: str, schema: Schema, limits: Limits | None = None) -> Parsed:
        """The records of a payload in the format `safetensors` or `jsonl`.

        Raises Malformed, a verdict that every machine reaches, or, after TRIES, WorkerFault, which is about this
        machine: try again later, and never score it. Raises ValueError for a format that the protocol does not have.
        """
        if fmt not in PARSERS:
            raise ValueError(f"the format {fmt!r} is unknown: use one of {', '.join(FORMATS)}")
        check_bytes(len(data), schema)
        return self.run(data, lambda allowed: _request(len(data), fmt, schema, allowed), accept, limits)

    def run(self, data: bytes, made: Made, accept: Accept[T], limits: Limits | None = None) -> T:
        """What `accept` makes of a child's answer to `data`; it raises WorkerFault for nonsense, and that is tried once
        more. `made`: the request, for what a try may use. Raises as `accept`, or WorkerFault after TRIES.
        """
        limits = limits or Limits()
        with self._lock:
            for left in reversed(range(TRIES)):
                try:
                    request = made(limits)
                    return accept(request, *self._ask(data, request))
                except WorkerFault as fault:
                    self._end()
                    self.faults += 1
                    if self._alarm is not None:
                        self._alarm(fault)
                    if not left:
                        raise
                limits = Limits(2 * limits.cpu_seconds, 2 * limits.wall_seconds, 2 * limits.memory)
        raise AssertionError("internal error: the last try returns or raises")

    def _ask(self, data: bytes, request: Request) -> tuple[Status, bytearray]:
        try:
            control = self._started()
            answer = _exchange(control, data, request)
            ended = msgspec.json.decode(read_frame(control.recv_into, 4, _STATUS_BYTES), type=Ended)
        except (EOFError, OSError, ValueError, msgspec.MsgspecError) as error:
            raise WorkerFault(f"the parsing worker is gone ({type(error).__name__}): try again") from None
        if answer is not None:
            return answer
        reason = (
            f"did not end within {request.wall_seconds:.0f} s" if ended.late else f"ended with status {ended.status}"
        )
        raise WorkerFault(f"the parsing worker {reason}: give the node more time or memory, or try again")

    def _started(self) -> socket.socket:
        if self._process is not None and self._process.poll() is not None:
            self._end()
        if self._control is None:
            self._process, self._control = _spawn(self._program)
            self._control.settimeout(_START_SECONDS)
            self.held = msgspec.json.decode(read_frame(self._control.recv_into, 4, _STATUS_BYTES), type=Held)
        return self._control

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        if self._control is not None:
            self._control.close()
        self._process = self._control = None


def accept(request: Request, status: Status, body: bytearray) -> Parsed:
    """The records of a child's answer. It has seen hostile bytes: raises Malformed, a verdict, or WorkerFault."""
    if status.kind == "malformed" and status.code in CODES:
        raise Malformed(status.code, "".join(letter for letter in status.message if letter.isprintable())[:300])
    if status.kind != "parsed":
        raise WorkerFault(
            f"the parsing worker failed ({status.message[:40]!r}): give the node more memory or try again"
        )
    try:
        # What it answers passes the same strict checks once more.
        return parse_safetensors(body, replace(request.schema, max_bytes=_largest_reply(request)))
    except Malformed as error:
        raise WorkerFault(f"the parsing worker answered nonsense ({error.code}): try again, and report it") from None


def _request(size: int, fmt: str, schema: Schema, limits: Limits) -> Request:
    return request_for(size, size, fmt, schema, limits)


def request_for(size: int, plain: int, fmt: str, schema: Schema, limits: Limits) -> Request:
    """A request for `size` bytes, which hold a payload of at most `plain` bytes."""
    memory = limits.memory + 4 * (size + _largest_arrays(plain, schema))
    return Request(fmt, schema, size, limits.cpu_seconds, limits.wall_seconds, memory, plain)


def _largest_arrays(size: int, schema: Schema) -> int:
    # A payload cannot grow by more than the widest item per two bytes of text, whatever the schema would allow; the
    # padding of sequences has a limit of its own.
    return min(schema.largest_arrays, max(size, padded_limit(size, schema)) if schema.is_sequence else 8 * size)


def _largest_reply(request: Request) -> int:
    return _largest_arrays(request.plain or request.size, request.schema) + MAX_HEADER + 8


def _exchange(control: socket.socket, data: bytes, request: Request) -> tuple[Status, bytearray] | None:
    """Hand a payload to a child, and take its answer: None when it did not give a whole one. Raises OSError when it is
    the worker that does not listen.
    """
    ours, theirs = socket.socketpair()
    deadline = time.monotonic() + request.wall_seconds + _GRACE_SECONDS
    with ours:
        with theirs:
            control.settimeout(_GRACE_SECONDS)
            socket.send_fds(control, [b"R"], [theirs.fileno()])
            write_frame(control.send, 4, msgspec.json.encode(request))
        # The worker kills the child when its time is up, which ends both of these; the deadline is for a worker that
        # does not.
        try:
            write_frame(_until(deadline, ours, ours.send), 8, data)
            read: Read = _until(deadline, ours, ours.recv_into)
            status = msgspec.json.decode(read_frame(read, 4, _STATUS_BYTES), type=Status)
            return status, read_frame(read, 8, _largest_reply(request))
        except (EOFError, OSError, ValueError, msgspec.MsgspecError):
            return None


def _until(deadline: float, pipe: socket.socket, call: Callable[[Buffer], int]) -> Callable[[Buffer], int]:
    def within(argument: Buffer) -> int:
        pipe.settimeout(max(0.001, deadline - time.monotonic()))
        return call(argument)

    return within


def _spawn(program: str = PROGRAM) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """A fresh interpreter, isolated from environment, user site and working directory; it inherits no descriptor but
    its end of the control socket.
    """
    ours, theirs = socket.socketpair()
    root = str(Path(__file__).resolve().parents[2])
    with theirs:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and code
            [sys.executable, "-I", "-B", "-c", _START, root, program],
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env=_environment(),
            start_new_session=True,
        )
    return process, ours


def _environment() -> dict[str, str]:
    """No secrets: only what the loader needs, and one thread for NumPy, whose pools would eat the address space."""
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
    return {**kept, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
