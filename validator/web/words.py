"""Times, sizes and phases in words for people, beside the words that every part of the program uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from validator.words import points, reason_words, units

__all__ = ["COURSE", "PHASES", "axis", "points", "reason_words", "short", "size", "span", "status_word", "units", "utc"]

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

MOST_PLACES = 6
"""Of a tick's number: more do not fit beside the axis."""

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


def axis(values: Sequence[int], digits: int, least: int = 0) -> list[str]:
    """What stands at the ticks of an axis: each value over 10**`digits`, with as many places as it takes to tell all of
    them apart exactly, at least `least`; by powers of ten where more than MOST_PLACES would be needed.
    """
    zeros = min((_trailing_zeros(value) for value in values if value), default=digits)
    places = max(least, digits - zeros)
    if places > MOST_PLACES:
        return [_by_power(value, digits) for value in values]
    return [_decimal(value, digits, places) for value in values]


def _decimal(value: int, digits: int, places: int) -> str:
    whole, rest = divmod(abs(value), 10**digits)
    fraction = f"{rest:0{digits}d}"[:places].ljust(places, "0") if digits and places else "0" * places
    return f"{'-' if value < 0 else ''}{whole:,}{'.' + fraction if fraction else ''}"


def _trailing_zeros(value: int) -> int:
    text = str(abs(value))
    return len(text) - len(text.rstrip("0"))


def _by_power(value: int, digits: int) -> str:
    if not value:
        return "0"
    zeros = _trailing_zeros(value)
    sign, figures = "-" if value < 0 else "", str(abs(value)).rstrip("0")
    mantissa = f"{figures[0]}.{figures[1:]}" if figures[1:] else figures
    return f"{sign}{mantissa}e{zeros + len(figures) - 1 - digits}"


def status_word(status: str) -> str:
    """A status code in the words of a table."""
    return status.replace("_", " ")
