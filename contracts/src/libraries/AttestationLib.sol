// SPDX-License-Identifier: MIT
pragma solidity ^0.8.29;

import { Attestation } from "../Types.sol";

/// @title AttestationLib
/// @notice Hashes over attestations.
library AttestationLib {
    bytes32 internal constant TYPEHASH = keccak256(
        "ScoreAttestation(uint64 round,uint32 attempt,bytes32 manifest,bytes32 seed,bytes32 inputsRoot,bytes32 scoresRoot,bytes32 earningsRoot,uint128 roundTotal,uint128 earnedTotal,uint32 count,bytes32 evidence)"
    );

    /// @notice EIP-712 struct hash. Every field is static, so `abi.encode` lays them out as the standard asks.
    function structHash(Attestation calldata attestation) internal pure returns (bytes32) {
        return keccak256(abi.encode(TYPEHASH, attestation));
    }

    /// @notice The commit to an attestation. It names the operator, so a copied commit can be revealed by nobody else, and
    /// chain, contract, round and attempt, so that it serves once.
    function commitHash(uint64 round, uint32 attempt, address operator, bytes32 digest, bytes32 salt)
        internal
        view
        returns (bytes32)
    {
        return keccak256(abi.encode(block.chainid, address(this), round, attempt, operator, digest, salt));
    }
}
