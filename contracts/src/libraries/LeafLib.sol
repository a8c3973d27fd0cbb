// SPDX-License-Identifier: MIT
pragma solidity ^0.8.29;

import { ScoreLeaf } from "../Types.sol";

/// @title LeafLib
/// @notice Leaves as OpenZeppelin's StandardMerkleTree hashes them: twice, so that no inner node passes for a leaf.
library LeafLib {
    /// @notice Leaf of the scores tree.
    function score(ScoreLeaf calldata leaf) internal pure returns (bytes32) {
        return keccak256(bytes.concat(keccak256(abi.encode(leaf))));
    }

    /// @notice Leaf of the tree of lifetime earnings.
    function earnings(address account, uint256 cumulative) internal pure returns (bytes32) {
        return keccak256(bytes.concat(keccak256(abi.encode(account, cumulative))));
    }
}
