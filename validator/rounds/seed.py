"""The seed of a round: randomness that the chain fixes only after the round has closed."""

from __future__ import annotations

from eth_abi.abi import encode
from eth_utils.crypto import keccak


def round_seed(chain_id: int, contract: str, round_: int, manifest: bytes, beacon: bytes) -> bytes:
    """`keccak256(abi.encode(chainId, contract, round, manifest, beacon))`, as `ScoringRounds.drawSeed` computes it."""
    return keccak(
        encode(
            ["uint256", "address", "uint64", "bytes32", "bytes32"],
            [chain_id, contract, round_, manifest, beacon],
        )
    )
