"""Why an envelope does not open.

The `code` is stable: it decides the contribution's status, so all nodes must agree.
"""

from __future__ import annotations

from typing import ClassVar

from validator.errors import ValidatorError


class EnvelopeError(ValidatorError):
    """An envelope was refused. Same bytes, same key, same context: same refusal on every machine."""

    code: ClassVar[str] = "undecryptable"


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
