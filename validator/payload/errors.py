"""Two kinds of failure that must never be confused: the data's, and ours."""

from __future__ import annotations

from validator.errors import ValidatorError

CODES = (
    "bytes",
    "records",
    "few_records",
    "header",
    "tensor",
    "dtype",
    "shape",
    "offsets",
    "line",
    "finite",
    "range",
    "sequence",
)
"""Why a payload is malformed, in stable words: size in bytes, number of records, container header, tensor names, dtype,
shape, data offsets, a line of JSON, NaN or infinity, a value outside its range, a sequence too short or with padding
inside."""


class PayloadError(ValidatorError):
    """A payload was not turned into records."""


class Malformed(PayloadError):
    """The payload breaks the protocol's rules: a verdict, the same on every machine, since only counts and values
    decide.

    `code` is one of CODES.
    """

    def __init__(self, code: str, sentence: str) -> None:
        if code not in CODES:
            raise AssertionError(f"internal error: {code!r} is no reason to refuse a payload")
        super().__init__(sentence)
        self.code = code

    @property
    def oversized(self) -> bool:
        """Whether the payload is merely too large: status OVERSIZED rather than MALFORMED."""
        return self.code in ("bytes", "records")


class WorkerFault(PayloadError):
    """The parsing worker died, hung or answered nonsense. Says something about this machine, never about the data."""


class BadSchema(PayloadError):
    """The DAO's schema itself cannot be used."""
