"""The plots of the performance record, as SVG that is the same for the same numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot

STYLE = {
    "svg.hashsalt": "poc",  # names inside the file do not depend on the run
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "figure.facecolor": "white",
}


def growth_plot(points: Sequence[dict[str, float]], exponent: float, path: Path) -> None:
    """Seconds, processor seconds and peak memory of a round against its number of contributions, both axes
    logarithmic, beside a line of slope 1.
    """
    counts = [point["contributions"] for point in points]
    with mpl.rc_context(STYLE):
        figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
        left.loglog(counts, [p["wall"] for p in points], "o-", label="by the clock")
        left.loglog(counts, [p["processor"] for p in points], "s--", label="of a processor")
        last = points[-1]
        left.loglog(
            counts, [last["wall"] * n / last["contributions"] for n in counts], ":", color="grey", label="linear"
        )
        left.set(xlabel="contributions", ylabel="seconds", title=f"A round's time: exponent {exponent:.2f}")
        left.legend()
        right.semilogx(counts, [p["peak"] for p in points], "o-")
        right.set(xlabel="contributions", ylabel="MiB", title="Most memory of the node", ylim=(0, None))
        _save(figure, path)


def gas_plot(costs: dict[str, dict[str, int]], path: Path) -> None:
    """Gas of each call for every size of round."""
    sizes = list(next(iter(costs.values())))
    width = 0.8 / len(sizes)
    with mpl.rc_context(STYLE):
        figure, axes = pyplot.subplots(figsize=(9, 3.6), layout="constrained")
        for place, size in enumerate(sizes):
            spots = [number + (place - (len(sizes) - 1) / 2) * width for number in range(len(costs))]
            axes.bar(spots, [cost[size] / 1000 for cost in costs.values()], width, label=size)
        axes.set_xticks(range(len(costs)), list(costs), fontsize=8)
        axes.set(ylabel="thousand gas", title="Gas of a call, by contributions and validators")
        axes.legend()
        _save(figure, path)


def _save(figure: object, path: Path) -> None:
    figure.savefig(path, format="svg", metadata={"Date": None})  # type: ignore[attr-defined]
    pyplot.close(figure)  # type: ignore[arg-type]
