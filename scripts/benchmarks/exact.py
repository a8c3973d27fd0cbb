"""Exact arithmetic against plain float32 torch, side by side in one run: time, and error against float64.

Plain float32 is strict on CUDA: no TF32, which has a column of its own. Errors are relative, the largest over the
outputs of a case: rms is |x - t| / |t| in the Euclidean norm, max the largest |x - t| over the largest |t|. They are
medians over a few draws, for where an input of a ReLU rounds to the other side of zero, either way may be far off.
"""

from __future__ import annotations

import importlib.util
import json
import os
import statistics
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict

import torch
from exact_cases import Case, Setting, Work, linear_step, operators
from exact_models import networks
from exact_report import ERROR_TARGET, Compared, Errors, table
from exact_yardstick import products
from measure import heeded, machine, parser_of, samples, timing
from torch import Tensor

from validator.exact import ExactError, exact, frozen
from validator.exact.digest import digest

DRAWS = 3
YARDSTICK_SIZES = (512, 1024)


def exactly(work: Work) -> Work:
    """The same under exact arithmetic."""

    def run() -> list[Tensor]:
        with exact():
            return work()

    return run


@contextmanager
def tf32(on: bool) -> Iterator[None]:
    """float32 products by TF32, or strictly."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32, cudnn.allow_tf32 = on, on
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


def by_tf32(work: Work) -> Work:
    """The same with products rounded to 10 bits on tensor cores."""

    def run() -> list[Tensor]:
        with tf32(True):
            return work()

    return run


def finished(work: Work, device: torch.device) -> Callable[[], object]:
    """The same, waiting for the device."""

    def run() -> None:
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return run


def errors(case: Case, device: torch.device, makers: dict[str, Callable[[Work], Work]]) -> dict[str, Errors]:
    """Medians over DRAWS sets of numbers, of a first run each."""
    found: dict[str, list[Errors]] = {name: [] for name in makers}
    for i in range(DRAWS):
        seed = b"bench %d" % i
        truth = case.make(Setting(torch.float64, device, seed)).work()
        for name, wrap in makers.items():
            with tf32(False):
                found[name].append(error(wrap(case.make(Setting(torch.float32, device, seed)).work)(), truth))
    return {
        name: Errors(statistics.median(e.rms for e in each), statistics.median(e.largest for e in each))
        for name, each in found.items()
    }


def error(found: list[Tensor], truth: list[Tensor]) -> Errors:
    """The largest over the tensors."""
    rms, largest = 0.0, 0.0
    for x, t in zip(found, truth, strict=True):
        gap = x.to(torch.float64) - t
        rms = max(rms, float(gap.norm() / t.norm().clamp(min=1e-300)))
        largest = max(largest, float(gap.abs().max() / t.abs().max().clamp(min=1e-300)))
    return Errors(rms, largest)


def peak(work: Work, device: torch.device) -> int:
    """Bytes that a run takes at most, above what was taken before. CUDA only."""
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    work()
    return torch.cuda.max_memory_allocated(device) - before


def apart(device: torch.device) -> float | None:
    """Seconds that a line of memory takes between two processors at this moment, where kernels can be compiled."""
    if device.type == "cuda" or importlib.util.find_spec("numba") is None:
        return None
    from processors import round_trip  # needs numba

    return round_trip()


def run(case: Case, device: torch.device, repeats: int, first: bool) -> Compared:
    """Measure one case; the first of a process twice, of which only the second time counts, for either side."""
    makers: dict[str, Callable[[Work], Work]] = {"float32": lambda work: work, "exact": exactly}
    if device.type == "cuda":
        makers["TF32"] = by_tf32
    made = {name: case.make(Setting(torch.float32, device)) for name in makers}
    works = {name: wrap(made[name].work) for name, wrap in makers.items()}
    with tf32(False), frozen(made["exact"].frozen):
        bits = digest({str(i): t for i, t in enumerate(works["exact"]())}).hex()[:16]
        # As a training does, a turn enters exact() once.
        timed = {name: finished(made[name].work if name == "exact" else work, device) for name, work in works.items()}
        for _ in range(2 if first else 1):
            before = apart(device)
            taken = samples(timed, repeats, {"exact": exact})
            after = apart(device)
        memory = {name: peak(work, device) for name, work in works.items()} if device.type == "cuda" else {}
    return Compared(
        case.name,
        {name: timing(seconds) for name, seconds in taken.items()},
        timing([a / b for a, b in zip(taken["exact"], taken["float32"], strict=True)]),
        case.target_cuda if device.type == "cuda" else case.target,
        errors(case, device, makers),
        ERROR_TARGET if case.accurate else None,
        bits,
        memory,
        None if before is None or after is None else max(before, after),
    )


def yardstick(size: int, threads: int, repeats: int) -> list[tuple[str, float, float]]:
    """(form, seconds, times slower than the exact product) of the fixed-order products of exact_yardstick.py."""
    forms = products(size, threads)
    case = next(case for case in operators() if case.name.startswith(f"mm {size} "))
    ours = exactly(case.make(Setting(torch.float32, torch.device("cpu"))).work)
    taken = samples({"exact": ours, **forms}, repeats)
    middle = {name: timing(seconds).median for name, seconds in taken.items()}
    return [(f"mm {size}: {name}", middle[name], middle[name] / middle["exact"]) for name in forms]


def main() -> None:
    """Measure and print."""
    parser = parser_of(__doc__ or "", os.cpu_count() or 1)
    parser.add_argument("--device", choices=("cpu", "cuda"), help="CUDA where there is one, unless told otherwise")
    parser.add_argument("--only", default="", help="cases whose name holds this")
    given = heeded(parser)
    device = torch.device(given.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    large = [linear_step(4096, 4096)] if device.type == "cuda" else []
    cases = [case for case in operators() + large + networks() if given.only in case.name]
    rows: list[Compared] = []
    refused: dict[str, str] = {}
    for case in cases:
        try:
            rows.append(run(case, device, given.repeats, first=not rows))
        except ExactError as error:
            refused[case.name] = str(error)
    times = []
    if device.type == "cpu" and given.only in "yardstick":
        times = [line for size in YARDSTICK_SIZES for line in yardstick(size, given.threads, given.repeats)]
    if given.json:
        where = machine() | {"device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"}
        shown = [asdict(row) for row in rows]
        whole = {"title": "Exact arithmetic", "machine": where, "rows": shown, "refused": refused, "yardstick": times}
        sys.stdout.write(json.dumps(whole) + "\n")
    else:
        table(rows, refused, times, device, given.repeats)


if __name__ == "__main__":
    main()
