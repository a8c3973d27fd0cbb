"""How amounts and scores are written for people; integers stay integers everywhere else."""

from __future__ import annotations


def units(amount: int, decimals: int = 18) -> str:
    """Base units as a decimal number with at most four places, rounded down."""
    whole, rest = divmod(amount, 10**decimals)
    places = f"{rest:0{decimals}d}"[:4].rstrip("0")
    return f"{whole:,}{'.' + places if places else ''}"


def points(score: int) -> str:
    """A score in 1e-9 of the objective, as thousandths with two places."""
    sign, size = ("-", -score) if score < 0 else ("", score)
    hundredths = (size + 5_000) // 10_000
    return f"{sign}{hundredths // 100}.{hundredths % 100:02d}"
