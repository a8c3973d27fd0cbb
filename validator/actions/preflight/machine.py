"""The machine: what it computes, its clock, its memory and its disks."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from validator.actions.preflight.line import Line, failed, passed, warned
from validator.exact.conformance.check import self_test
from validator.memory import available, memory_of
from validator.settings import Settings

LOW_DISK, NO_DISK = 10 << 30, 1 << 30
LEAST_MEMORY = 1 << 30
STEP_SECONDS = 0.02
"""How far two clocks of one machine may drift apart in CLOCK_SAMPLES pauses."""
CLOCK_SAMPLES, CLOCK_PAUSE = 5, 0.01
AHEAD_SECONDS = 30.0


def arithmetic() -> Iterator[Line]:
    """Whether this machine computes what the protocol fixes."""
    report = self_test(quick=True)
    if report.ok:
        yield passed("exact self-test", report.verdict)
    else:
        yield failed("exact self-test", report.verdict, "`validator exact self-test` names cause and cure")


def devices() -> Iterator[Line]:
    """Which processors can score."""
    if not torch.cuda.is_available():
        yield passed("GPU", f"none that torch {torch.__version__} can use; the processor scores, with the same bits")
        return
    names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    yield passed("GPU", f"{', '.join(names)} (`validator exact self-test --device cuda` certifies it)")


def memory(settings: Settings) -> Iterator[Line]:
    """Whether the bound on memory can be kept."""
    limit, there = memory_of(settings.memory_mib).limit, available()
    words = (
        f"{there / 2**30:.1f} GiB here, bound at {limit / 2**30:.1f} GiB"
        if limit
        else f"{there / 2**30:.1f} GiB, no bound"
    )
    if limit > there:
        yield warned("memory", words, "lower memory_mib: the kernel would end the node before it is reached")
    elif limit and limit < LEAST_MEMORY:
        yield warned("memory", words, "a node needs about 1 GiB for itself: raise memory_mib")
    else:
        yield passed("memory", words)


def disks(settings: Settings) -> Iterator[Line]:
    """Space where the home and an embedded content store are."""
    places = {"home": settings.path("")}
    if settings.content_spec().startswith("local:") and "," not in settings.content_spec():
        places["content"] = Path(settings.content_spec().removeprefix("local:")).expanduser()
    for name, place in places.items():
        free = shutil.disk_usage(_existing(place)).free
        words = f"{free / 2**30:.1f} GiB free at {place}"
        if free < NO_DISK:
            yield failed(f"disk of {name}", words, "make room: the node stops when it cannot write")
        elif free < LOW_DISK:
            yield warned(f"disk of {name}", words, "make room, or move it to a larger disk")
        else:
            yield passed(f"disk of {name}", words)


def clock() -> Iterator[Line]:
    """Whether this machine's clocks go forward, and evenly."""
    wall, steady = time.time(), time.monotonic()
    for _ in range(CLOCK_SAMPLES):
        time.sleep(CLOCK_PAUSE)
        if time.monotonic() <= steady:
            yield failed("clock", "the monotonic clock stands still", "restart the machine; deadlines cannot be kept")
            return
    drift = (time.time() - wall) - (time.monotonic() - steady)
    if abs(drift) > STEP_SECONDS:
        yield warned(
            "clock", f"the wall clock was set by {drift:+.3f} s while it was watched", "let NTP slew, not step"
        )
    else:
        yield passed("clock", "goes evenly")


def chain_clock(head_time: int, stale_seconds: float, now: float) -> Iterator[Line]:
    """This machine's clock against the newest block's (Unix seconds)."""
    age = now - head_time
    if age < -AHEAD_SECONDS:
        words = f"this machine is {-age:.0f} s behind the chain's newest block"
        yield failed("clock and chain", words, "set the clock (NTP)")
    elif age > stale_seconds:
        words = f"the chain's newest block is {age:.0f} s old by this machine's clock"
        yield failed("clock and chain", words, "set the clock (NTP), or use an endpoint that is up to date")
    else:
        yield passed("clock and chain", f"the newest block is {max(0.0, age):.0f} s old")


def _existing(place: Path) -> Path:
    """The nearest folder that exists."""
    return next(folder for folder in (place, *place.parents) if folder.exists())
