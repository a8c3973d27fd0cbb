"""Ranges of one loop on several threads. Kernels release the GIL; no result depends on where a range is cut.

The threads are those of torch's own OpenMP runtime, where it is GNU's (Linux): after a parallel operator its threads
spin for some milliseconds in the hope of another, and a pool of our own would wait for the processor beside them.
"""

from __future__ import annotations

import ctypes
import functools
import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

_WORTH = 1 << 16
"""Elementary steps below which handing work to another thread costs more than it saves (about 30 microseconds)."""
_BODY = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def split(n: int, work: int, run: Callable[[int, int], None]) -> None:
    """Call `run(start, stop)` on ranges that cover range(n), on at most torch.get_num_threads() threads.

    `work` is about how many elementary steps one of the n takes. Errors of any range are raised here.
    """
    parts = min(torch.get_num_threads(), n, n * work // _WORTH)
    if parts <= 1:
        run(0, n)
        return
    cuts = [n * i // parts for i in range(parts + 1)]
    ranges = [(cuts[i], cuts[i + 1]) for i in range(parts)]
    start = team()
    if start is None:
        rest = [_pool(os.getpid()).submit(run, *each) for each in ranges[1:]]
        run(*ranges[0])
        for future in rest:
            future.result()
    else:
        _in_team(start, ranges, run)


def _in_team(start: Callable[..., None], ranges: list[tuple[int, int]], run: Callable[[int, int], None]) -> None:
    """However many threads the runtime grants, they take the ranges until none is left.

    An exception cannot cross the runtime. ctypes drops one that a signal handler raises where `body` begins or ends; no
    range may be missing without one being raised here, for what it did not write is memory that nobody wrote.
    """
    left, done, errors = deque(ranges), deque[int](), deque[BaseException]()
    caller = threading.get_ident()

    def take() -> tuple[int, int] | None:
        try:
            return left.popleft()
        except IndexError:
            return None

    def body(_: object) -> None:
        try:
            if threading.get_ident() != caller:
                torch.set_flush_denormal(False)  # a thread keeps what its maker had when it began
            while each := take():
                run(*each)
                done.append(each[0])
        except BaseException as error:  # noqa: BLE001 - raised below
            errors.append(error)

    start(_BODY(body), None, len(ranges), 0)
    if errors:
        raise errors[0]
    if len(done) < len(ranges):
        raise KeyboardInterrupt


@functools.cache
def team() -> Callable[..., None] | None:
    """GOMP_parallel(function, data, threads, flags) of the runtime that torch has loaded."""
    package = Path(torch.__file__).parent
    found = [*package.glob("lib/libgomp*.so*"), *package.parent.glob("torch.libs/libgomp*.so*")]
    if len(found) != 1:
        return None
    parallel = ctypes.CDLL(str(found[0])).GOMP_parallel
    parallel.argtypes, parallel.restype = (_BODY, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint), None
    return parallel


@functools.cache
def _pool(process: int) -> ThreadPoolExecutor:
    """Threads do not survive a fork: each process has its own."""
    return ThreadPoolExecutor(
        os.cpu_count() or 1, thread_name_prefix="exact", initializer=torch.set_flush_denormal, initargs=(False,)
    )
