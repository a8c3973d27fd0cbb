"""Ranges of one loop on several threads. Kernels release the GIL; no result depends on where a range is cut."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch

_WORTH = 1 << 16
"""Elementary steps below which handing work to another thread costs more than it saves (about 30 microseconds)."""


def split(n: int, work: int, run: Callable[[int, int], None]) -> None:
    """Call `run(start, stop)` on ranges that cover range(n), on at most torch.get_num_threads() threads.

    `work` is about how many elementary steps one of the n takes. Errors of any range are raised here.
    """
    parts = min(torch.get_num_threads(), n, n * work // _WORTH)
    if parts <= 1:
        run(0, n)
        return
    cuts = [n * i // parts for i in range(parts + 1)]
    rest = [_pool(os.getpid()).submit(run, *cuts[i : i + 2]) for i in range(1, parts)]
    run(cuts[0], cuts[1])
    for each in rest:
        each.result()


@functools.cache
def _pool(process: int) -> ThreadPoolExecutor:
    """Threads do not survive a fork: each process has its own."""
    return ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="exact")
