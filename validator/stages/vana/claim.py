"""Claim: our fees out of the TeePool, and a file's reward for its owner."""

from __future__ import annotations

from validator.chain.vana import proof_digest
from validator.errors import ValidatorError
from validator.stages.vana.judge import judged
from validator.stages.vana.node import Prover, VanaNode

MOST_PROOFS = 1024
"""Anybody may add proofs to a file: so many are looked through for ours."""


class NothingToClaim(ValidatorError):
    """There is nothing to be had."""


def owed(node: VanaNode) -> int:
    """Fees that can be claimed, in wei."""
    tee = node.contracts.tee_pool.tee(node.account)
    return tee.earned - tee.withdrawn


def fees(node: VanaNode) -> int:
    """Take them; returns how much, in wei. Raises NothingToClaim, and what sending raises."""
    prover = _prover(node)
    tee = node.contracts.tee_pool.tee(node.account)
    amount = tee.earned - tee.withdrawn
    if amount <= 0:
        raise NothingToClaim(f"{node.account} has no fee to claim: {tee.earned} wei earned, all of it paid")
    # Named by what was paid before: after a crash the same claim is found again, and a later one is another.
    prover.sender.send(node.contracts.tee_pool.claim(), intent=f"claim/{tee.withdrawn}")
    return amount


def reward(node: VanaNode, file_id: int) -> int:
    """Have the DLP pay the owner of a file that we proved; returns the proof's index. Raises NothingToClaim."""
    prover, index = _prover(node), proof_index(node, file_id)
    verdict = judged(node, file_id)
    if verdict is not None and not verdict.data.score:
        raise NothingToClaim(
            f"file {file_id} scored nothing ({verdict.status.name.lower()}), so nothing is paid for it"
        )
    call = node.contracts.dlp.request_reward(file_id, index)
    prover.sender.send(call, intent=f"reward/{file_id}/{index}")
    return index


def proof_index(node: VanaNode, file_id: int) -> int:
    """Where our proof stands among those of the file, whoever added the others. Never taken from an event."""
    verdict = judged(node, file_id)
    if verdict is None:
        raise NothingToClaim(f"file {file_id} was not judged by this node")
    wanted = _prover(node).key.sign_proof(verdict.url, verdict.data) if _signed(node, file_id) else None
    for index in range(1, MOST_PROOFS + 1):
        found = node.contracts.registry.proof(file_id, index)
        if not found.signature:
            break
        if wanted is not None and found == wanted:
            return index
    raise NothingToClaim(f"our proof of file {file_id} is not on chain: `validator vana run` sends it")


def _signed(node: VanaNode, file_id: int) -> bool:
    """Whether exactly this content was signed before; looking for it must not make a first signature."""
    from validator.stages.vana.prove import slot_of

    prover, verdict = _prover(node), judged(node, file_id)
    assert verdict is not None
    return prover.protection.signed(slot_of(node, prover, file_id)) == proof_digest(verdict.url, verdict.data)


def _prover(node: VanaNode) -> Prover:
    if node.prover is None:
        raise ValidatorError("this is a dry run: nothing is signed or sent")
    return node.prover
