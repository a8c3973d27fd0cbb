"""The one error of this room."""

from __future__ import annotations


class InfluenceError(ValueError):
    """A problem, a record set, a parameter or a probe file cannot be used; the message says which, and what would be
    accepted.
    """
