"""What Vana asks a prover to sign, and why it is weak.

    EIP-191 over keccak256(abi.encodePacked(url, uint256 score, uint256 dlpId, metadata, proofUrl, instruction))

No chain id, no contract, no file id, no nonce, no deadline: whoever holds one signature can show it on every chain
where its key is a prover. And the encoding is packed: the same bytes can be cut in another place, so that they speak
of another URL, another score and another DLP (docs/vana.md has the example, tests/vana the proof). We cannot mend
that; we sign it with a key that is used for nothing else, once a file, under signing protection.
"""

from __future__ import annotations

from eth_account.messages import SignableMessage, encode_defunct
from eth_utils.crypto import keccak

from validator.chain.vana.types import WAD, ProofData


def packed(url: str, data: ProofData) -> bytes:
    """The bytes that are hashed. Raises ValueError for a score that no DLP takes."""
    if not 0 <= data.score <= WAD:
        raise ValueError(f"internal error: a score of {data.score}")
    numbers = data.score.to_bytes(32, "big") + data.dlp_id.to_bytes(32, "big")
    return url.encode() + numbers + f"{data.metadata}{data.proof_url}{data.instruction}".encode()


def proof_message(url: str, data: ProofData) -> SignableMessage:
    """The form that eth_account signs."""
    return encode_defunct(keccak(packed(url, data)))


def proof_digest(url: str, data: ProofData) -> bytes:
    """The 32 bytes that are signed."""
    message = proof_message(url, data)
    return keccak(b"\x19" + message.version + message.header + message.body)
