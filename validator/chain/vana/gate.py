"""The gate: nothing is proven unless all three contracts are of the version that this release was written for, and
belong together.
"""

from __future__ import annotations

from dataclasses import dataclass

from web3 import Web3

from validator.chain.types import BlockId
from validator.chain.vana.contracts import VanaContract, VanaDataRegistry, VanaDlp, VanaTeePool
from validator.chain.vana.errors import NotVana
from validator.chain.vana.types import Place


@dataclass(frozen=True, slots=True)
class Contracts:
    """The wrappers of one place."""

    registry: VanaDataRegistry
    tee_pool: VanaTeePool
    dlp: VanaDlp

    @classmethod
    def of(cls, w3: Web3, place: Place) -> Contracts:
        """Wrappers over `w3`."""
        return cls(VanaDataRegistry(w3, place.registry), VanaTeePool(w3, place.tee_pool), VanaDlp(w3, place.dlp))


def check_versions(contracts: Contracts, block: BlockId = "latest") -> None:
    """Raises NotVana with the first thing that is wrong. Asked at the start and at every tick: they are upgradeable."""
    every: tuple[VanaContract, ...] = (contracts.registry, contracts.tee_pool, contracts.dlp)
    for contract in every:
        found = contract.version(block)
        if found != contract.VERSION:
            raise NotVana(
                f"{contract.NAME} at {contract.address} has version {found}, this release knows {contract.VERSION}: "
                "upgrade the validator before it proves anything there"
            )
    registry, pool = contracts.registry.address, contracts.tee_pool.address
    for name, wanted, got in (
        ("the TeePool writes to the registry", registry, contracts.tee_pool.data_registry(block)),
        ("the DLP pays for files of the registry", registry, contracts.dlp.data_registry(block)),
        ("the DLP pays for proofs of the TeePool", pool, contracts.dlp.tee_pool(block)),
    ):
        if got != wanted:
            raise NotVana(f"{name} {got}, the settings name {wanted}: correct vana_registry, vana_tee_pool or vana_dlp")
