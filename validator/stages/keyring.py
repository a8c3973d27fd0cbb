"""Whatever can open a round: the secrets of key epochs, as validators hold them, or a grant of that round alone."""

from __future__ import annotations

from typing import Protocol

from validator.envelope import Context, open_envelope, open_shared, seal_shared


class Keyring(Protocol):
    """Opens envelopes and shared files. What it raises from the envelope room is a verdict on the envelope."""

    def missing(self, epochs: set[int]) -> list[int]:
        """Those of `epochs` whose secret is wanted and not here, in order."""

    def open(self, sealed: bytes, expected: Context, limit: int) -> bytes:
        """The plaintext of an envelope, as `open_envelope` gives it."""

    def open_shared(self, epoch: int, sealed: bytes, info: bytes) -> bytes:
        """The plaintext of a shared file of a key epoch."""

    def seal_shared(self, epoch: int, plain: bytes, info: bytes) -> bytes:
        """The file that every holder of the epoch writes."""


class EpochKeys(dict[int, bytes]):
    """Secrets by key epoch."""

    def missing(self, epochs: set[int]) -> list[int]:
        """Those not in hand."""
        return sorted(epochs - self.keys())

    def open(self, sealed: bytes, expected: Context, limit: int) -> bytes:
        """With the secret of the epoch that the chain names."""
        return open_envelope(sealed, self[expected.key_epoch], expected, limit)

    def open_shared(self, epoch: int, sealed: bytes, info: bytes) -> bytes:
        """With the epoch's secret."""
        return open_shared(self[epoch], sealed, info)

    def seal_shared(self, epoch: int, plain: bytes, info: bytes) -> bytes:
        """With the epoch's secret."""
        return seal_shared(self[epoch], plain, info)
