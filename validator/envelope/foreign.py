"""Why a file of Vana's does not open, in stable words. Nothing here is an envelope of ours (`format`)."""

from __future__ import annotations

from validator.errors import ValidatorError

REASONS = (
    "armour",
    "packet",
    "length",
    "order",
    "session-key",
    "cipher",
    "s2k",
    "s2k-count",
    "password",
    "mdc",
    "compression",
    "nesting",
    "oversized",
    "key-text",
    "key-size",
    "key-point",
    "key-mac",
    "key-padding",
    "key-content",
)


class Unopenable(ValidatorError):
    """A file, or the key that was granted for it, is not what is written today, or not for us. Same bytes, same key:
    same refusal on every machine. `reason` is one of REASONS.
    """

    def __init__(self, reason: str, sentence: str) -> None:
        if reason not in REASONS:
            raise AssertionError(f"internal error: {reason!r} is no reason to refuse a file")
        super().__init__(sentence)
        self.reason = reason

    @property
    def oversized(self) -> bool:
        """Whether it merely holds more than is allowed."""
        return self.reason == "oversized"
