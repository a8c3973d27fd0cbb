"""How much memory this process uses, and how much it may."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import psutil

DEFAULT_SHARE = 0.9
"""Of what the machine, or the container, has: reached before the kernel ends the process without a word."""
_CGROUP = Path("/sys/fs/cgroup/memory.max")


@dataclass(frozen=True, slots=True)
class Memory:
    """A bound in bytes on the resident memory of this process and its workers; 0 for none."""

    limit: int = 0

    def used(self) -> int:
        """Resident bytes now, of this process and of those that it has started."""
        me = psutil.Process()
        total = int(me.memory_info().rss)
        for child in me.children(recursive=True):
            try:
                total += int(child.memory_info().rss)
            except psutil.Error:  # it has just ended
                continue
        return total

    def exceeded(self) -> bool:
        """Whether more is used than may be."""
        return self.limit > 0 and self.used() > self.limit


def memory_of(mebibytes: int | None) -> Memory:
    """The bound that was set, or DEFAULT_SHARE of what there is. 0 sets none."""
    if mebibytes is not None:
        return Memory(mebibytes << 20)
    return Memory(int(available() * DEFAULT_SHARE))


def available() -> int:
    """Bytes of memory that this machine has, or that its container may use."""
    total = int(psutil.virtual_memory().total)
    try:
        text = _CGROUP.read_text().strip()
    except OSError:
        return total
    return min(total, int(text)) if text.isdigit() else total
