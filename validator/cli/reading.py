"""A bar while a long chain is read, where somebody watches standard error."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

SHOW_AFTER_SECONDS = 1.0


class Reading:
    """Told how far a scan has come (`follower.Watch`), draws a bar once that has taken SHOW_AFTER_SECONDS."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._begun: float | None = None
        self._first = 0
        self._bar: Progress | None = None

    def __call__(self, block: int, finalised: int) -> None:
        """`block` of `finalised` was read."""
        if self._begun is None:
            self._begun, self._first = time.monotonic(), block
        slow = time.monotonic() - self._begun > SHOW_AFTER_SECONDS
        if self._bar is None and slow and block < finalised and self._console.is_terminal:
            columns = (SpinnerColumn(), TextColumn("reading blocks"), BarColumn(), MofNCompleteColumn())
            self._bar = Progress(*columns, TimeRemainingColumn(), console=self._console, transient=True)
            self._bar.add_task("", total=finalised - self._first)
            self._bar.start()
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=block - self._first, total=finalised - self._first)
            if block >= finalised:
                self._bar.stop()
                self._bar, self._begun = None, None
