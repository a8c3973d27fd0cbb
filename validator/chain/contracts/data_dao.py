"""DataDAO: manifest versions, key epochs, parameters, admissions."""

from __future__ import annotations

from typing import cast

from validator.chain.contracts.base import Contract
from validator.chain.types import BlockId, Call, Parameters


class DataDAO(Contract):
    """The DAO's decisions. Writing calls are the owner's."""

    NAME = "DataDAO"

    def owner(self, block: BlockId = "latest") -> str:
        """The account that decides."""
        return cast("str", self._read("owner", block=block))

    def pending_owner(self, block: BlockId = "latest") -> str:
        """The account that the owner wants to hand over to; zero if none."""
        return cast("str", self._read("pendingOwner", block=block))

    def paused(self, block: BlockId = "latest") -> bool:
        """Whether new submissions are stopped."""
        return cast("bool", self._read("paused", block=block))

    def manifest_version(self, block: BlockId = "latest") -> int:
        """The latest manifest version; 0 before the first."""
        return cast("int", self._read("manifestVersion", block=block))

    def manifest(self, version: int, block: BlockId = "latest") -> bytes:
        """The SHA-256 digest of manifest ``version`` (1-based)."""
        return cast("bytes", self._read("manifest", version, block=block))

    def key_epoch(self, block: BlockId = "latest") -> int:
        """The latest key epoch; 0 before the first."""
        return cast("int", self._read("keyEpoch", block=block))

    def key_of(self, epoch: int, block: BlockId = "latest") -> bytes:
        """The X25519 public key of key epoch ``epoch`` (1-based)."""
        return cast("bytes", self._read("keyOf", epoch, block=block))

    def key_epoch_call(self) -> Call:
        """The question for the latest key epoch as a call that anyone can put to any endpoint."""
        return self._call("keyEpoch")

    def key_of_call(self, epoch: int) -> Call:
        """The same for the public key of key epoch ``epoch``."""
        return self._call("keyOf", epoch)

    def parameters(self, block: BlockId = "latest") -> Parameters:
        """The parameters that the next round will latch."""
        return cast("Parameters", self._read("parameters", block=block))

    def parameters_version(self, block: BlockId = "latest") -> int:
        """The version of ``parameters``, counted from 1."""
        return cast("int", self._read("parametersVersion", block=block))

    def parameters_at(self, version: int, block: BlockId = "latest") -> Parameters:
        """The parameters of a version."""
        return cast("Parameters", self._read("parametersAt", version, block=block))

    def admitted(self, operator: str, block: BlockId = "latest") -> bool:
        """Whether ``operator`` may join."""
        return cast("bool", self._read("admitted", operator, block=block))

    def publish_manifest(self, digest: bytes) -> Call:
        """Publish the manifest for rounds that open from now on."""
        return self._call("publishManifest", digest)

    def publish_key_epoch(self, public_key: bytes) -> Call:
        """Publish the next X25519 key that contributors seal to."""
        return self._call("publishKeyEpoch", public_key)

    def grant_key(self, epoch: int, operator: str, wrapped: bytes) -> Call:
        """Hand a wrapped epoch secret (at most 1,024 bytes) to ``operator``, in an event."""
        return self._call("grantKey", epoch, operator, wrapped)

    def admit(self, operator: str, allowed: bool) -> Call:
        """Allow or no longer allow ``operator`` to join."""
        return self._call("admit", operator, allowed)

    def set_parameters(self, parameters: Parameters) -> Call:
        """Set the parameters of rounds that open from now on."""
        return self._call("setParameters", parameters)

    def pause(self) -> Call:
        """Stop new submissions, and nothing else."""
        return self._call("pause")

    def unpause(self) -> Call:
        """Allow submissions again."""
        return self._call("unpause")

    def transfer_ownership(self, new_owner: str) -> Call:
        """Offer the DAO to ``new_owner``, who must accept."""
        return self._call("transferOwnership", new_owner)

    def accept_ownership(self) -> Call:
        """Take over the DAO, as the account that it was offered to."""
        return self._call("acceptOwnership")
