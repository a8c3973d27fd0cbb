// SPDX-License-Identifier: MIT
pragma solidity ^0.8.29;

import { Hashes } from "@openzeppelin/contracts/utils/cryptography/Hashes.sol";

/// @notice Trees laid out as OpenZeppelin's StandardMerkleTree lays them out: the leaves, sorted, fill an array of 2n - 1
/// nodes from its end; node i hashes nodes 2i + 1 and 2i + 2 as a sorted pair.
library Trees {
    function root(bytes32[] memory leaves) internal pure returns (bytes32) {
        return _nodes(leaves)[0];
    }

    function proof(bytes32[] memory leaves, bytes32 leaf) internal pure returns (bytes32[] memory path) {
        bytes32[] memory nodes = _nodes(leaves);
        uint256 place = nodes.length;
        for (uint256 i = leaves.length - 1; i < nodes.length; i++) {
            if (nodes[i] == leaf) place = i;
        }
        require(place < nodes.length, "Trees: no such leaf");

        uint256 depth;
        for (uint256 i = place; i > 0; i = (i - 1) / 2) {
            depth++;
        }
        path = new bytes32[](depth);
        for (uint256 step = 0; place > 0; place = (place - 1) / 2) {
            path[step++] = nodes[place % 2 == 1 ? place + 1 : place - 1];
        }
    }

    /// A tree of 2**depth leaves around one: only the path is needed.
    function around(bytes32 leaf, uint256 depth) internal pure returns (bytes32 root_, bytes32[] memory path) {
        path = new bytes32[](depth);
        root_ = leaf;
        for (uint256 i = 0; i < depth; i++) {
            path[i] = keccak256(abi.encode("sibling", i));
            root_ = Hashes.commutativeKeccak256(root_, path[i]);
        }
    }

    function _nodes(bytes32[] memory leaves) private pure returns (bytes32[] memory nodes) {
        uint256 count = leaves.length;
        bytes32[] memory sorted = _sorted(leaves);
        nodes = new bytes32[](2 * count - 1);
        for (uint256 i = 0; i < count; i++) {
            nodes[nodes.length - 1 - i] = sorted[i];
        }
        for (uint256 i = count - 1; i > 0; i--) {
            nodes[i - 1] = Hashes.commutativeKeccak256(nodes[2 * i - 1], nodes[2 * i]);
        }
    }

    function _sorted(bytes32[] memory leaves) private pure returns (bytes32[] memory sorted) {
        sorted = new bytes32[](leaves.length);
        for (uint256 i = 0; i < leaves.length; i++) {
            uint256 j = i;
            for (; j > 0 && sorted[j - 1] > leaves[i]; j--) {
                sorted[j] = sorted[j - 1];
            }
            sorted[j] = leaves[i];
        }
    }
}
