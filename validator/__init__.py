"""The proof-of-contribution validator node; the tree of this package is its architecture."""
