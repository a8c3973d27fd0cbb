"""Prove: what was judged, signed once and sent once.

The order is the house's: journalled, then registered with signing protection, then signed, then journalled as an
intent, then sent. The slot is the file and the DLP, whatever the job: what Vana has us sign names neither chain nor
contract nor job, so a second text for one file would be a second answer everywhere.
"""

from __future__ import annotations

import structlog

from validator.chain.errors import Reverted
from validator.chain.vana import JobStatus, proof_digest
from validator.journal.protection import Slot
from validator.stages.vana.judge import Verdict
from validator.stages.vana.ledger import JobSeen
from validator.stages.vana.node import Prover, VanaNode

log = structlog.get_logger("vana")

PROVING = "proving"
_ENDED = {JobStatus.COMPLETED: "proven", JobStatus.CANCELED: "cancelled"}


def run(node: VanaNode, job: JobSeen, verdict: Verdict) -> str:
    """Send the proof of `job`; returns what became of it in a word. Raises ProtectionError rather than sign a second
    answer for a file, and what sending raises: the same can be tried again after it.
    """
    prover = node.prover
    if prover is None:
        return "dry run"
    if (ended := ended_as(node, job)) is not None:
        return ended
    if _proven_under_another_job(node, job):
        log.warning("a second job for a file that is proven: left alone", file=job.file_id, job=job.id)
        return "proven before"
    node.journal.take_step(job.file_id, 0, PROVING, {"job": job.id})
    prover.protection.register(slot_of(node, prover, job.file_id), proof_digest(verdict.url, verdict.data))
    proof = prover.key.sign_proof(verdict.url, verdict.data)
    try:
        receipt = prover.sender.send(node.contracts.tee_pool.add_proof(job.id, proof), intent=intent_of(job))
    except Reverted as error:
        log.warning("the proof was refused", file=job.file_id, job=job.id, reason=str(error))
        return f"refused: {error}"
    log.info("proven", file=job.file_id, job=job.id, transaction=receipt.transaction_hash.hex())
    return "proven"


def intent_of(job: JobSeen) -> str:
    """What the sender calls the proof of a job."""
    return f"prove/{job.id}"


def ended_as(node: VanaNode, job: JobSeen) -> str | None:
    """What has become of a job by the newest block, if there is nothing left to do; None while it waits for us."""
    state = node.contracts.tee_pool.job(job.id)
    if (state.tee, state.file_id) != (node.account, job.file_id):
        return "not ours"
    return None if state.status is JobStatus.SUBMITTED else _ENDED.get(state.status, "unknown")


def slot_of(node: VanaNode, prover: Prover, file_id: int) -> Slot:
    """What at most one content may be signed for: this file, for this DLP, by this key."""
    return Slot(node.place.chain_id, node.place.registry, prover.key.address, file_id, node.place.dlp_id)


def _proven_under_another_job(node: VanaNode, job: JobSeen) -> bool:
    """Whether an earlier job of the file has our proof, or may get it yet; one that was cancelled has not."""
    step = node.journal.step(job.file_id, 0, PROVING)
    if step is None or step["job"] == job.id:
        return False
    return node.contracts.tee_pool.job(step["job"]).status is not JobStatus.CANCELED
