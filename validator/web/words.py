"""Numbers, times and codes in words for people."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

UNIT = 1_000_000
"""Scores are shown in thousandths of the objective; they are kept in 1e-9."""

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

REASONS: Mapping[str, str] = {
    "declared_size": "the envelope is larger than the manifest's limit",
    "undecryptable": "the envelope does not open: damaged, cut, or sealed for another key",
    "replayed": "the envelope names another contributor, contract, chain or key epoch",
    "oversized": "the envelope holds more than it may",
    "bytes": "the payload has more bytes than the manifest allows",
    "records": "the payload has too few or too many records",
    "header": "the file's header is not what its format prescribes",
    "tensor": "the payload does not hold exactly the tensors wanted",
    "offsets": "the file's tensors leave gaps, overlap, or do not fill it",
    "dtype": "a tensor has the wrong number type",
    "shape": "a record has the wrong shape",
    "finite": "a value is not a number, or infinite",
    "range": "a value lies outside the allowed range",
    "line": "a line of the file does not fit the schema",
}
"""Stable reason codes of the evidence in words; a code without an entry is shown as it is."""


def reason_words(code: str) -> str:
    """A reason code in words."""
    return REASONS.get(code, code)


def units(amount: int | None, decimals: int = 18) -> str:
    """Base units as a decimal number with at most four places, rounded towards zero; a dash for None."""
    if amount is None:
        return "-"
    sign = "-" if amount < 0 else ""
    whole, rest = divmod(abs(amount), 10**decimals)
    places = f"{rest:0{decimals}d}"[:4].rstrip("0") if decimals else ""
    return f"{sign}{whole:,}{'.' + places if places else ''}"


def points(score: int | None) -> str:
    """A score in thousandths with two places, rounded half away from zero in integers; a dash for None."""
    if score is None:
        return "-"
    hundredths = (abs(score) * 100 + UNIT // 2) // UNIT
    sign = "-" if score < 0 and hundredths else ""
    return f"{sign}{hundredths // 100:,}.{hundredths % 100:02d}"


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
