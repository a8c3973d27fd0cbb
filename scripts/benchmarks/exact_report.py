"""How the benchmark of exact arithmetic tells what it measured, beside what was asked."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from measure import Timing, heading, in_words

ERROR_TARGET = 5.0
YARDSTICK_TARGET = 30.0


@dataclass(frozen=True, slots=True)
class Errors:
    """Of one way of computing, against float64."""

    rms: float
    largest: float


@dataclass(frozen=True, slots=True)
class Compared:
    """One line: seconds of each way, `ratio` of exact to plain with its spread, errors, and what was asked; `apart` is
    the seconds of processors.round_trip, where that was measured.
    """

    name: str
    seconds: dict[str, Timing]
    ratio: Timing
    target: float | None
    errors: dict[str, Errors]
    error_target: float | None
    digest: str
    peak_bytes: dict[str, int]
    apart: float | None

    @property
    def error_ratio(self) -> float | None:
        """How many times as large the rms error of exact arithmetic is; None where plain float32 makes none."""
        plain = self.errors["float32"].rms
        return self.errors["exact"].rms / plain if plain else None


def told(row: Compared) -> str:
    """A line of the table."""
    target = "" if row.target is None else f"<= {row.target:g} {'met' if row.ratio.median <= row.target else 'MISSED'}"
    again = "" if row.error_ratio is None else f"{row.error_ratio:.1f} x"
    if row.error_target is not None and row.error_ratio is not None:
        again += f", <= {row.error_target:g} {'met' if row.error_ratio <= row.error_target else 'MISSED'}"
    found, ratio = row.errors["exact"], row.ratio
    cells = [
        row.name,
        in_words(row.seconds["float32"].median),
        in_words(row.seconds["exact"].median),
        f"{ratio.median:.2f} (IQR {ratio.spread:.2f})",
        target,
        f"{found.rms:.1e}, {found.largest:.1e}",
        again,
        row.digest,
    ]
    if "TF32" in row.seconds:
        over = row.seconds["exact"].median / row.seconds["TF32"].median
        cells += [f"{over:.2f}", f"{row.peak_bytes['exact'] / max(row.peak_bytes['float32'], 1):.1f} x"]
    else:
        cells.append("" if row.apart is None else f"{row.apart * 1e9:.0f} ns")
    return f"| {' | '.join(cells)} |"


def table(
    rows: list[Compared],
    refused: dict[str, str],
    times: list[tuple[str, float, float]],
    device: torch.device,
    repeats: int,
) -> None:
    """Print everything as Markdown."""
    on = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    heading(f"Exact arithmetic on {on}", repeats)
    columns = ["what", "plain float32", "exact", "ratio", "target", "error rms, max", "error over plain's", "digest"]
    columns += ["over TF32", "peak memory"] if device.type == "cuda" else ["core to core and back"]
    print(f"| {' | '.join(columns)} |\n|---{'|---:' * (len(columns) - 1)}|")
    for row in rows:
        print(told(row))
    for name, reason in refused.items():
        print(f"| {name} | | refused: {reason} |{' |' * (len(columns) - 3)}")
    if times:
        print("\n| products by a fixed order of summation | time | over exact | target |\n|---|---:|---:|---|")
    for name, seconds, ratio in times:
        met = f">= {YARDSTICK_TARGET:g} {'met' if ratio >= YARDSTICK_TARGET else 'MISSED'}"
        print(f"| {name} | {in_words(seconds)} | {ratio:.0f} x | {met if 'chain' in name else ''} |")
