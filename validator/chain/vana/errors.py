"""What the adapter to Vana refuses to go on with."""

from __future__ import annotations

from validator.chain.errors import ChainError


class NotVana(ChainError):
    """A contract is not the one that this adapter was written for: another version, a function or an event that is
    gone or has changed, or addresses that do not belong together. Nothing is signed until it is mended.
    """
