"""ContributionRegistry: submissions and their deposits."""

from __future__ import annotations

from typing import cast

from validator.chain.contracts.base import Contract
from validator.chain.types import BlockId, Call, Contribution


class ContributionRegistry(Contract):
    """Contributions, ids counted from 1 without gaps."""

    NAME = "ContributionRegistry"

    def domain_separator(self, block: BlockId = "latest") -> bytes:
        """The EIP-712 domain separator of submissions: 32 bytes."""
        return cast("bytes", self._read("domainSeparator", block=block))

    def dao(self, block: BlockId = "latest") -> str:
        """Address of DataDAO."""
        return cast("str", self._read("dao", block=block))

    def rounds(self, block: BlockId = "latest") -> str:
        """Address of ScoringRounds."""
        return cast("str", self._read("rounds", block=block))

    def count(self, block: BlockId = "latest") -> int:
        """How many contributions there are; also the latest id."""
        return cast("int", self._read("count", block=block))

    def contribution(self, contribution: int, block: BlockId = "latest") -> Contribution:
        """The contribution with id ``contribution``."""
        return cast("Contribution", self._read("contribution", contribution, block=block))

    def id_of(self, contributor: str, digest: bytes, block: BlockId = "latest") -> int:
        """The id under which ``contributor`` submitted ``digest``; 0 if never."""
        return cast("int", self._read("idOf", contributor, digest, block=block))

    def credits(self, account: str, block: BlockId = "latest") -> int:
        """Wei that ``account`` can withdraw."""
        return cast("int", self._read("credits", account, block=block))

    def submit(self, digest: bytes, codec: int, size: int, key_epoch: int, value: int) -> Call:
        """Submit as the sender; ``value`` is the deposit of the open round in wei."""
        return self._call("submit", digest, codec, size, key_epoch, value=value)

    def submit_for(
        self,
        contributor: str,
        digest: bytes,
        codec: int,
        size: int,
        key_epoch: int,
        deadline: int,
        signature: bytes,
        value: int,
    ) -> Call:
        """Submit for ``contributor``, who signed ``typed_data.Submission``; the sender pays the deposit."""
        return self._call("submitFor", contributor, digest, codec, size, key_epoch, deadline, signature, value=value)

    def withdraw_credit(self, account: str) -> Call:
        """Pay ``account`` its credit; anyone may send it."""
        return self._call("withdrawCredit", account)
