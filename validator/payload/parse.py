"""Parsing a stranger's payload, from the side of the node: spawn, feed, time, and believe nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO

import msgspec

from validator.payload.errors import CODES, Malformed, WorkerFault
from validator.payload.safetensors_format import MAX_HEADER, parse_safetensors
from validator.payload.schema import Parsed, Schema, check_bytes
from validator.payload.worker import PARSERS, Limits, Request, Status, read_frame, write_frame

FORMATS = tuple(PARSERS)
_STATUS_BYTES = 4096
_START = "import sys; sys.path.append(sys.argv[1]); from validator.payload.worker import main; sys.exit(main())"


def parse(data: bytes, fmt: str, schema: Schema, limits: Limits | None = None) -> Parsed:
    """The records of a payload in the format `safetensors` or `jsonl`, parsed in a process of its own.

    Raises Malformed, a verdict that every machine reaches, or WorkerFault, which is about this machine: try again, and
    never score it. Raises ValueError for a format that the protocol does not have.
    """
    if fmt not in PARSERS:
        raise ValueError(f"the format {fmt!r} is unknown: use one of {', '.join(FORMATS)}")
    limits = limits or Limits()
    check_bytes(len(data), schema)
    status, body = _ask(data, _request(len(data), fmt, schema, limits), limits.wall_seconds)
    if status.kind == "malformed" and status.code in CODES:
        raise Malformed(status.code, "".join(letter for letter in status.message if letter.isprintable())[:300])
    if status.kind != "parsed":
        raise WorkerFault(
            f"the parsing worker failed ({status.message[:40]!r}): give the node more memory or try again"
        )
    try:
        # The worker has seen hostile bytes: what it answers passes the same strict checks once more.
        return parse_safetensors(body, replace(schema, max_bytes=_largest_reply(schema)))
    except Malformed as error:
        raise WorkerFault(f"the parsing worker answered nonsense ({error.code}): try again, and report it") from None


def _request(size: int, fmt: str, schema: Schema, limits: Limits) -> Request:
    # A payload cannot grow by more than the widest item per two bytes of text, whatever the schema would allow; padding
    # is bounded by the limit in bytes instead.
    arrays = min(schema.largest_arrays, schema.max_bytes if schema.is_sequence else 8 * size)
    return Request(fmt, schema, limits.cpu_seconds, limits.memory + 4 * (size + arrays))


def _largest_reply(schema: Schema) -> int:
    return schema.largest_arrays + MAX_HEADER + 8


def _ask(data: bytes, request: Request, seconds: float) -> tuple[Status, bytearray]:
    with _spawn() as worker, _killed_after(worker, seconds) as expired:
        assert worker.stdin is not None and worker.stdout is not None, "internal error: the worker has pipes"
        feeder = threading.Thread(target=_feed, args=(worker.stdin, request, data), daemon=True)
        feeder.start()
        try:
            status = msgspec.json.decode(read_frame(worker.stdout, 4, _STATUS_BYTES), type=Status)
            return status, read_frame(worker.stdout, 8, _largest_reply(request.schema))
        except (EOFError, OSError, ValueError, msgspec.MsgspecError):
            worker.kill()
            reason = f"did not end within {seconds:.0f} s" if expired.is_set() else f"ended with status {worker.wait()}"
            raise WorkerFault(f"the parsing worker {reason}: give the node more time or memory, or try again") from None
        finally:
            worker.kill()
            feeder.join()


def _feed(pipe: IO[bytes], request: Request, data: bytes) -> None:
    try:
        with pipe:
            write_frame(pipe, 4, msgspec.json.encode(request))
            write_frame(pipe, 8, data)
    except OSError:
        return  # the worker died; the reader hears it too, and says so


@contextmanager
def _spawn() -> Iterator[subprocess.Popen[bytes]]:
    """A fresh interpreter, isolated from environment, user site and working directory; it inherits no descriptor."""
    root = str(Path(__file__).resolve().parents[2])
    worker = subprocess.Popen(  # noqa: S603 - our own interpreter and code
        [sys.executable, "-I", "-B", "-c", _START, root],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env=_environment(),
        start_new_session=True,
    )
    try:
        yield worker
    finally:
        worker.kill()
        worker.wait()
        for pipe in (worker.stdin, worker.stdout):
            if pipe is not None and not pipe.closed:
                pipe.close()


def _environment() -> dict[str, str]:
    """No secrets: only what the loader needs, and one thread for NumPy, whose pools would eat the address space."""
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
    return {**kept, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@contextmanager
def _killed_after(worker: subprocess.Popen[bytes], seconds: float) -> Iterator[threading.Event]:
    expired = threading.Event()

    def expire() -> None:
        expired.set()
        worker.kill()

    timer = threading.Timer(seconds, expire)
    timer.daemon = True
    timer.start()
    try:
        yield expired
    finally:
        timer.cancel()
