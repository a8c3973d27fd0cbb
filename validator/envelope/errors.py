"""Why an envelope does not open.

The `code` decides the contribution's status, so all nodes must agree on it; `reason` says more closely what was wrong,
one stable word a cause, for logs, people and other implementations (docs/protocol.md lists them).
"""

from __future__ import annotations

from typing import ClassVar

from validator.errors import ValidatorError

REASONS = (
    "magic",
    "header-size",
    "header-json",
    "header-canonical",
    "header-field",
    "suite",
    "recipients",
    "context",
    "contributor",
    "contract",
    "epoch",
    "oversized",
    "length",
    "not-a-recipient",
    "wrap",
    "commitment",
    "chunk",
    "key",
)


class EnvelopeError(ValidatorError):
    """An envelope was refused. Same bytes, same key, same context: same refusal on every machine."""

    code: ClassVar[str] = "undecryptable"

    def __init__(self, sentence: str, reason: str = "key") -> None:
        if reason not in REASONS:
            raise AssertionError(f"internal error: {reason!r} is no reason to refuse an envelope")
        super().__init__(sentence)
        self.reason = reason


class Undecryptable(EnvelopeError):
    """Not an envelope, damaged, cut, or not sealed for this key."""

    code = "undecryptable"


class WrongContext(EnvelopeError):
    """A sound header that names another contributor, contract or chain: somebody else's envelope, shown again."""

    code = "replayed"


class Oversized(EnvelopeError):
    """More plaintext than the caller's limit. Counted from the envelope's length, before anything is decrypted."""

    code = "oversized"


class BadKey(EnvelopeError):
    """A key, grant or backup of our own that cannot be used. Says nothing about any contribution."""

    code = "bad-key"
