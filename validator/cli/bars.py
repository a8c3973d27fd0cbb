"""A progress bar with the time that is left."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn


@contextmanager
def bars() -> Iterator[Callable[[str, int, int], None]]:
    """A bar for what is going on, where somebody watches standard error."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    console, quiet = Console(stderr=True), not sys.stderr.isatty()
    progress = Progress(*columns, TimeRemainingColumn(), console=console, transient=True, disable=quiet)
    task, words = progress.add_task("", total=1), [""]
    try:

        def report(what: str, done: int, total: int) -> None:
            progress.start()  # not before there is something to say: another bar may be up until then
            if what != words[0]:
                words[0] = what
                progress.reset(task, description=what, total=total)
            progress.update(task, completed=done, total=total)

        yield report
    finally:
        progress.stop()
