"""An ERC-20 token; ``mint`` exists on the development token only."""

from __future__ import annotations

from typing import cast

from validator.chain.contracts.base import Contract
from validator.chain.types import BlockId, Call


class Token(Contract):
    """Balances in the token's base units."""

    NAME = "DevToken"

    def name(self, block: BlockId = "latest") -> str:
        """The token's name."""
        return cast("str", self._read("name", block=block))

    def symbol(self, block: BlockId = "latest") -> str:
        """The token's symbol."""
        return cast("str", self._read("symbol", block=block))

    def decimals(self, block: BlockId = "latest") -> int:
        """Decimals for display."""
        return cast("int", self._read("decimals", block=block))

    def total_supply(self, block: BlockId = "latest") -> int:
        """Everything in circulation."""
        return cast("int", self._read("totalSupply", block=block))

    def balance_of(self, account: str, block: BlockId = "latest") -> int:
        """Balance of ``account``."""
        return cast("int", self._read("balanceOf", account, block=block))

    def allowance(self, owner: str, spender: str, block: BlockId = "latest") -> int:
        """What ``spender`` may take from ``owner``."""
        return cast("int", self._read("allowance", owner, spender, block=block))

    def approve(self, spender: str, amount: int) -> Call:
        """Allow ``spender`` to take ``amount`` from the sender."""
        return self._call("approve", spender, amount)

    def transfer(self, to: str, amount: int) -> Call:
        """Send ``amount`` to ``to``."""
        return self._call("transfer", to, amount)

    def mint(self, to: str, amount: int) -> Call:
        """Create ``amount`` for ``to`` (development token)."""
        return self._call("mint", to, amount)
