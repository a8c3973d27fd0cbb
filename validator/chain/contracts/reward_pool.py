"""RewardPool: funding, cumulative earnings, validators' fees."""

from __future__ import annotations

from typing import cast

from validator.chain.contracts.base import Contract
from validator.chain.types import BlockId, Call


class RewardPool(Contract):
    """Rewards in reward-token units."""

    NAME = "RewardPool"

    def rounds(self, block: BlockId = "latest") -> str:
        """Address of ScoringRounds."""
        return cast("str", self._read("rounds", block=block))

    def token(self, block: BlockId = "latest") -> str:
        """Address of the reward token."""
        return cast("str", self._read("token", block=block))

    def available(self, block: BlockId = "latest") -> int:
        """Funds that nobody is owed yet."""
        return cast("int", self._read("available", block=block))

    def funded(self, block: BlockId = "latest") -> int:
        """Everything ever funded."""
        return cast("int", self._read("funded", block=block))

    def earned_total(self, block: BlockId = "latest") -> int:
        """Lifetime earnings of all contributors together."""
        return cast("int", self._read("earnedTotal", block=block))

    def earnings_root(self, block: BlockId = "latest") -> bytes:
        """Root of the tree of lifetime earnings."""
        return cast("bytes", self._read("earningsRoot", block=block))

    def claimed(self, account: str, block: BlockId = "latest") -> int:
        """What ``account`` has been paid."""
        return cast("int", self._read("claimed", account, block=block))

    def claimed_total(self, block: BlockId = "latest") -> int:
        """Units ever paid to contributors."""
        return cast("int", self._read("claimedTotal", block=block))

    def fee_claimed(self, round_number: int, operator: str, block: BlockId = "latest") -> bool:
        """Whether ``operator`` was paid its fee for ``round_number``."""
        return cast("bool", self._read("feeClaimed", round_number, operator, block=block))

    def fees_owed(self, block: BlockId = "latest") -> int:
        """Validators' fees not yet claimed."""
        return cast("int", self._read("feesOwed", block=block))

    def fund(self, amount: int) -> Call:
        """Add ``amount`` (approved before) to the pool."""
        return self._call("fund", amount)

    def claim(self, account: str, cumulative: int, proof: tuple[bytes, ...]) -> Call:
        """Pay ``account`` up to its lifetime earnings ``cumulative``; anyone may send it."""
        return self._call("claim", account, cumulative, proof)

    def claim_fee(self, round_number: int, operator: str) -> Call:
        """Pay ``operator`` its share of the fee of ``round_number``, after the attest deadline."""
        return self._call("claimFee", round_number, operator)
