"""A progress bar with the time that is left."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn


@contextmanager
def bars(first: str = "reading") -> Iterator[Callable[[str, int, int], None]]:
    """A bar for what is going on, where somebody watches standard error."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    console, quiet = Console(stderr=True), not sys.stderr.isatty()
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True, disable=quiet) as progress:
        task = progress.add_task(first, total=1)
        words = [first]

        def report(what: str, done: int, total: int) -> None:
            if what != words[0]:
                words[0] = what
                progress.reset(task, description=what, total=total)
            progress.update(task, completed=done, total=total)

        yield report
