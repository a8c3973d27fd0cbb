"""One pass over everything that is due for Vana."""

from __future__ import annotations

import time

import structlog

from validator.chain.errors import RpcFault
from validator.chain.vana import check_versions
from validator.errors import ValidatorError
from validator.stages.vana import claim, discover, judge, prove
from validator.stages.vana.ledger import JobSeen, Ledger
from validator.stages.vana.node import VanaNode
from validator.stages.vana.open import KeyRefused

log = structlog.get_logger("vana")

SCAN_SECONDS = 20.0
RETRY_SECONDS, MOST_RETRY_SECONDS = 5.0, 3600.0


def tick(node: VanaNode) -> bool:
    """Read the chain, then judge and prove what was assigned to us, each job by itself. True when all final blocks were
    read; else call it again. Raises NotVana when a contract is not what this release was written for, and RpcFault: the
    chain is the same for everything.
    """
    check_versions(node.contracts)
    if not _read(node):
        return False
    under_way = set() if node.prover is None else {intent.key for intent in node.prover.sender.resume()}
    ledger = discover.ledger_of(node)
    for job in ledger.open_jobs():
        if prove.intent_of(job) in under_way:  # sent; after a reorganisation it is sent again, as it is
            node.waits[job.id] = "sent"
        elif _due(node, ledger, job):
            _work(node, ledger, job)
    if node.prover is not None and node.claim_wei and claim.owed(node) >= node.claim_wei:
        log.info("fees claimed", amount=claim.fees(node))
    return True


def _read(node: VanaNode) -> bool:
    end = time.monotonic() + SCAN_SECONDS
    while not discover.run(node):
        if time.monotonic() > end:
            return False
    return True


def _due(node: VanaNode, ledger: Ledger, job: JobSeen) -> bool:
    if ledger.grants.get(job.file_id, 0) > node.refused.get(job.file_id, -1) and job.file_id in node.refused:
        del node.refused[job.file_id]  # the owner has granted again
        node.retries.pop(job.id, None)
    return job.file_id not in node.refused and node.clock() >= node.retries.get(job.id, (0, 0.0))[1]


def _work(node: VanaNode, ledger: Ledger, job: JobSeen) -> None:
    try:
        outcome = prove.ended_as(node, job) or prove.run(node, job, judge.run(node, ledger, job))
    except RpcFault:
        raise
    except ValidatorError as error:
        _failed(node, ledger, job, error)
        return
    node.waits[job.id] = outcome
    node.retries.pop(job.id, None)
    if outcome != "proven":  # nothing is to be done before the chain says something new of it
        node.retries[job.id] = (1, node.clock() + MOST_RETRY_SECONDS)


def _failed(node: VanaNode, ledger: Ledger, job: JobSeen, error: ValidatorError) -> None:
    failures = node.retries.get(job.id, (0, 0.0))[0]
    pause = min(RETRY_SECONDS * 2.0 ** min(failures, 20), MOST_RETRY_SECONDS)
    node.retries[job.id] = (failures + 1, node.clock() + pause)
    if isinstance(error, KeyRefused):
        node.refused[job.file_id] = ledger.grants.get(job.file_id, 0)
    if node.waits.get(job.id) != str(error):
        log.warning("waits", job=job.id, file=job.file_id, error=str(error))
    node.waits[job.id] = str(error)
