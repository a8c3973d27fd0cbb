from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from validator.rounds.merkle import EMPTY_ROOT, build_tree, leaf_hash, verify

# The example of the OpenZeppelin merkle-tree documentation.
DOCUMENTED = [("0x1111111111111111111111111111111111111111", 5 * 10**18), ("0x" + "22" * 20, 25 * 10**17)]
DOCUMENTED_ROOT = "d4dee0beab2d53f2cc83e567171bd2820e49898130a22622b10ead383e90bd77"


def test_build_tree__documented_example__gives_the_published_root():
    leaves = [leaf_hash(("address", "uint256"), entry) for entry in DOCUMENTED]
    assert build_tree(leaves).root.hex() == DOCUMENTED_ROOT


def test_build_tree__no_leaves__has_the_empty_root():
    assert build_tree([]).root == EMPTY_ROOT


@given(st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=40, unique=True), st.data())
def test_proof__any_leaf_of_any_tree__verifies_and_no_other_leaf_does(leaves: list[bytes], data: st.DataObject):
    tree = build_tree(leaves)
    index = data.draw(st.integers(0, len(leaves) - 1))
    proof = tree.proof(index)
    assert verify(tree.root, leaves[index], proof)
    stranger = bytes(32) if leaves[index] != bytes(32) else b"\1" * 32
    assert not verify(tree.root, stranger, proof)


@given(st.permutations(list(range(7))))
def test_build_tree__leaves_in_another_order__have_the_same_root(order: list[int]):
    leaves = [bytes([i]) * 32 for i in range(7)]
    assert build_tree([leaves[i] for i in order]).root == build_tree(leaves).root


def test_verify__inner_node_given_as_leaf__is_only_prevented_by_the_double_hash():
    leaves = [leaf_hash(("address", "uint256"), ("0x" + f"{i:02x}" * 20, i)) for i in range(4)]
    tree = build_tree(leaves)
    assert tree.nodes[1] not in leaves
    with pytest.raises(IndexError):
        tree.proof(4)
