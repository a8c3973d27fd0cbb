"""Times, sizes and phases in words for people, beside the words that every part of the program uses."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from validator.words import points, reason_words, units

__all__ = ["COURSE", "PHASES", "points", "reason_words", "short", "size", "span", "status_word", "units", "utc"]

PHASES: Mapping[str, str] = {
    "open": "It takes contributions.",
    "closed": "It is closed, and its seed is about to be drawn.",
    "reporting": "Validators report which contributions they hold.",
    "committing": "Validators score the contributions and commit to their answers.",
    "attesting": "Validators show and sign their answers.",
    "finalised": "Validators with more than two thirds of the weight have signed the very same answer.",
    "stalled": "There was no quorum in time; it will be tried again.",
    "abandoned": "It was given up, and its contributions went to the next round.",
}

COURSE = ("open", "closed", "reporting", "committing", "attesting", "finalised")
"""The phases of a round that nothing disturbs, in order."""


def short(text: str, head: int = 8, tail: int = 6) -> str:
    """The two ends of a long identifier."""
    return text if len(text) <= head + tail + 1 else f"{text[:head]}…{text[-tail:]}"


def utc(seconds: int) -> str:
    """Unix seconds as a date and time in UTC; seconds beyond the calendar as they are."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return f"{seconds} s after 1970"


def span(seconds: int) -> str:
    """A length of time in its two largest units."""
    if seconds <= 0:
        return "no time"
    parts = []
    for name, length in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        count, seconds = divmod(seconds, length)
        if count:
            parts.append(f"{count:,} {name}")
        elif parts:
            break
    return " ".join(parts[:2])


def size(count: int) -> str:
    """Bytes for people."""
    if count < 10_000:
        return f"{count:,} bytes"
    return f"{count / 1024:,.0f} KiB" if count < 10 * 2**20 else f"{count / 2**20:,.0f} MiB"


def status_word(status: str) -> str:
    """A status code in the words of a table."""
    return status.replace("_", " ")
