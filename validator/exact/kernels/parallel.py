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
_BODY, _NUMBER = ctypes.CFUNCTYPE(None, ctypes.c_void_p), ctypes.CFUNCTYPE(ctypes.c_int)


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
    """However many threads the runtime grants, they take the ranges until none is left, each its own first.

    An exception cannot cross the runtime. ctypes drops one that a signal handler raises where `body` begins or ends; no
    range may be missing without one being raised here, for what it did not write is memory that nobody wrote.
    """
    left, done, errors = dict(enumerate(ranges)), deque[int](), deque[BaseException]()
    caller, number = threading.get_ident(), _NUMBER(numbering())

    def body(_: object) -> None:
        try:
            if threading.get_ident() != caller:
                torch.set_flush_denormal(False)  # a thread keeps what its maker had when it began
            mine = number()
            for turn in range(len(ranges)):
                each = left.pop((mine + turn) % len(ranges), None)
                if each is not None:
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
    found = _runtime()
    if found is None:
        return None
    parallel = found.GOMP_parallel
    parallel.argtypes, parallel.restype = (_BODY, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint), None
    return parallel


@functools.cache
def numbering() -> int:
    """The address of the C function, int(void), that tells a thread its number in the team; 0 where there is none."""
    found = _runtime()
    return 0 if found is None else ctypes.cast(found.omp_get_thread_num, ctypes.c_void_p).value or 0


@functools.cache
def _runtime() -> ctypes.CDLL | None:
    package = Path(torch.__file__).parent
    found = [*package.glob("lib/libgomp*.so*"), *package.parent.glob("torch.libs/libgomp*.so*")]
    return ctypes.CDLL(str(found[0])) if len(found) == 1 else None


@functools.cache
def _pool(process: int) -> ThreadPoolExecutor:
    """Threads do not survive a fork: each process has its own."""
    return ThreadPoolExecutor(
        os.cpu_count() or 1, thread_name_prefix="exact", initializer=torch.set_flush_denormal, initargs=(False,)
    )
