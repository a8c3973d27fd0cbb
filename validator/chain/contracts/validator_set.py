"""ValidatorSet: stake, keys and weights."""

from __future__ import annotations

from typing import cast

from validator.chain.contracts.base import Contract
from validator.chain.types import BlockId, Call, Validator


class ValidatorSet(Contract):
    """Members of the set. Amounts and weights in stake-token units."""

    NAME = "ValidatorSet"

    def domain_separator(self, block: BlockId = "latest") -> bytes:
        """The EIP-712 domain separator of consents: 32 bytes."""
        return cast("bytes", self._read("domainSeparator", block=block))

    def dao(self, block: BlockId = "latest") -> str:
        """Address of DataDAO."""
        return cast("str", self._read("dao", block=block))

    def rounds(self, block: BlockId = "latest") -> str:
        """Address of ScoringRounds."""
        return cast("str", self._read("rounds", block=block))

    def token(self, block: BlockId = "latest") -> str:
        """Address of the stake token."""
        return cast("str", self._read("token", block=block))

    def validator(self, operator: str, block: BlockId = "latest") -> Validator:
        """The member ``operator``; all zero if it never joined."""
        return cast("Validator", self._read("validators", operator, block=block))

    def operators(self, block: BlockId = "latest") -> tuple[str, ...]:
        """All operators that have joined and not withdrawn, in no fixed order."""
        return cast("tuple[str, ...]", self._read("operators", block=block))

    def operator_of(self, signer: str, block: BlockId = "latest") -> str:
        """The operator that ``signer`` signs for."""
        return cast("str", self._read("operatorOf", signer, block=block))

    def signer_of(self, operator: str, block: BlockId = "latest") -> str:
        """The address that signs for ``operator``; zero if it has not joined."""
        return cast("str", self._read("signerOf", operator, block=block))

    def stake_of(self, operator: str, block: BlockId = "latest") -> int:
        """The stake of ``operator``."""
        return cast("int", self._read("stakeOf", operator, block=block))

    def total_weight(self, block: BlockId = "latest") -> int:
        """The weight of all operators now."""
        return cast("int", self._read("totalWeight", block=block))

    def weight_at(self, operator: str, round_number: int, block: BlockId = "latest") -> int:
        """The weight of ``operator`` in ``round_number``; reverts WeightForgotten for old ones."""
        return cast("int", self._read("weightAt", operator, round_number, block=block))

    def total_weight_at(self, round_number: int, block: BlockId = "latest") -> int:
        """The weight of all in ``round_number``."""
        return cast("int", self._read("totalWeightAt", round_number, block=block))

    def burned(self, block: BlockId = "latest") -> int:
        """What was slashed and not given to a reporter."""
        return cast("int", self._read("burned", block=block))

    def join(self, amount: int, signer: str, hpke_key: bytes, consent: bytes) -> Call:
        """Join with ``amount``; ``consent`` (`typed_data.signer_consent`) may be empty if the signer itself sends."""
        return self._call("join", amount, signer, hpke_key, consent)

    def top_up(self, amount: int) -> Call:
        """Add stake."""
        return self._call("topUp", amount)

    def request_exit(self) -> Call:
        """Give up all weight and start the exit delay."""
        return self._call("requestExit")

    def withdraw(self) -> Call:
        """Take the stake back after the exit delay."""
        return self._call("withdraw")

    def announce(self, url: str) -> Call:
        """Say where the caller serves its pinned content; empty takes the last one back."""
        return self._call("announce", url)

    def update_weight(self, operator: str) -> Call:
        """Apply the current maximum weight to ``operator``."""
        return self._call("updateWeight", operator)
