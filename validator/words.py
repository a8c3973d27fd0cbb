"""How scores, amounts and reasons are written for people; integers and codes stay what they are everywhere else."""

from __future__ import annotations

from collections.abc import Mapping

UNIT = 1_000_000
"""Scores are shown in thousandths of the objective; they are kept in 1e-9."""

REASONS: Mapping[str, str] = {
    "declared_size": "the envelope is larger than the manifest's limit",
    "undecryptable": "the envelope does not open: damaged, cut, or sealed for another key",
    "replayed": "the envelope names another contributor, contract, chain or key epoch",
    "oversized": "the envelope holds more than it may",
    "size": "the envelope does not have the size that was declared",
    "bytes": "the payload has more bytes than the manifest allows",
    "records": "the payload has more records than the manifest allows",
    "few_records": "the payload has fewer records than the manifest asks for",
    "header": "the file's header is not what its format prescribes",
    "tensor": "the payload does not hold exactly the tensors wanted",
    "offsets": "the file's tensors leave gaps, overlap, or do not fill it",
    "dtype": "a tensor has the wrong number type",
    "shape": "a record has the wrong shape",
    "finite": "a value is not a number, or infinite",
    "range": "a value lies outside the allowed range",
    "line": "a line of the file does not fit the schema",
    "sequence": "a sequence has fewer than two tokens, or padding before its end",
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
