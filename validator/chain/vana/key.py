"""The key of a prover: it sends, it signs proofs, and files are encrypted to it. It must be used for nothing else."""

from __future__ import annotations

from validator.chain.signer import LocalSigner
from validator.chain.vana.proof import proof_message
from validator.chain.vana.types import Proof, ProofData


class VanaKey(LocalSigner):
    """In memory, from a keystore: a remote signer can neither sign EIP-191 for us nor open what was encrypted to it."""

    def sign_proof(self, url: str, data: ProofData) -> Proof:
        """The proof. Deterministic (RFC 6979). Register its digest with signing protection before."""
        return Proof(bytes(self._account.sign_message(proof_message(url, data)).signature), data)
