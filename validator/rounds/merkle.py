"""Merkle trees that OpenZeppelin's `MerkleProof` verifies and its `StandardMerkleTree` reproduces.

A leaf is `keccak256(keccak256(abi.encode(fields)))`: the double hash keeps an inner node from passing as a leaf (second
preimage). Leaves are sorted by hash, pairs are sorted before hashing, and the tree is the complete binary tree of 2n -
1 nodes in one array.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from eth_abi.abi import encode
from eth_utils.crypto import keccak

INPUT_LEAF = ("uint64", "address", "bytes32", "uint8", "uint64", "uint32")
"""(id, contributor, digest, codec, size, key epoch)"""
SCORE_LEAF = ("uint64", "address", "uint8", "uint128", "int128", "uint128")
"""(id, contributor, status, payable, raw, stderr)"""
EARNING_LEAF = ("address", "uint256")
"""(contributor, lifetime earnings)"""

EMPTY_ROOT = bytes(32)
"""Root of a tree without leaves; no proof verifies against it."""


def leaf_hash(types: Sequence[str], values: Sequence[Any]) -> bytes:
    """Double keccak of the ABI encoding of one leaf."""
    return keccak(keccak(encode(list(types), list(values))))


def _pair(left: bytes, right: bytes) -> bytes:
    return keccak(min(left, right) + max(left, right))


@dataclass(frozen=True, slots=True)
class Tree:
    """A built tree: `nodes[0]` is the root, children of i are 2i + 1 and 2i + 2; `place[k]` is where the k-th given
    leaf stands.
    """

    nodes: tuple[bytes, ...]
    place: tuple[int, ...]

    @property
    def root(self) -> bytes:
        """32 bytes; `EMPTY_ROOT` for no leaves."""
        return self.nodes[0] if self.nodes else EMPTY_ROOT

    def proof(self, index: int) -> list[bytes]:
        """Sibling hashes from the `index`-th given leaf up to the root."""
        at, path = self.place[index], []
        while at > 0:
            path.append(self.nodes[at + 1 if at % 2 else at - 1])
            at = (at - 1) // 2
        return path


def build_tree(leaves: Sequence[bytes]) -> Tree:
    """Tree over leaf hashes, in StandardMerkleTree's layout."""
    n = len(leaves)
    if n == 0:
        return Tree((), ())
    order = sorted(range(n), key=lambda k: leaves[k])
    nodes = [b""] * (2 * n - 1)
    place = [0] * n
    for rank, k in enumerate(order):
        place[k] = 2 * n - 2 - rank
        nodes[place[k]] = leaves[k]
    for at in range(n - 2, -1, -1):
        nodes[at] = _pair(nodes[2 * at + 1], nodes[2 * at + 2])
    return Tree(tuple(nodes), tuple(place))


def verify(root: bytes, leaf: bytes, proof: Sequence[bytes]) -> bool:
    """Whether `proof` leads from `leaf` to `root`; the same walk as `MerkleProof.verify`."""
    for sibling in proof:
        leaf = _pair(leaf, sibling)
    return leaf == root
