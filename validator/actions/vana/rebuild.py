"""A lost signing history, from the chain: what this key has signed and sent is there for everybody to read."""

from __future__ import annotations

from dataclasses import dataclass

from eth_account import Account
from eth_keys.exceptions import BadSignature
from eth_utils.exceptions import ValidationError

from validator.actions.connect import finality_of, open_chain
from validator.actions.home import HomeError
from validator.actions.vana.keys import HISTORY, secret_of, shown
from validator.actions.vana.open import place_of
from validator.chain.follower import Checkpoint, Follower
from validator.chain.types import Event
from validator.chain.vana import Contracts, JobStatus, Place, Proof, VanaEvents, check_versions, proof_digest
from validator.chain.vana.proof import proof_message
from validator.errors import ValidatorError
from validator.journal import SigningProtection
from validator.journal.protection import Slot
from validator.settings import Settings
from validator.stages.vana.claim import MOST_PROOFS


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """Files whose proof was found, and files of open jobs that nothing will be signed for."""

    proven: int
    blocked: int


def rebuild(settings: Settings) -> Rebuilt:
    """Make the history that is missing. What may have been signed and never sent is not known, so the files of jobs
    that are still open are blocked. Raises HomeError where there is a history.
    """
    path = settings.path(HISTORY)
    if path.exists():
        raise HomeError(f"{path} exists already; signing history is never overwritten")
    w3 = open_chain(settings)
    place, address = place_of(settings, w3), shown(secret_of(settings)).address
    contracts = Contracts.of(w3, place)
    check_versions(contracts)
    events = _events(Follower(w3, place, finality_of(settings), decoder=VanaEvents(place)))
    files = {e.args["fileId"] for e in events if e.name == "ProofAdded" and e.args["attestator"] == address}
    jobs = [e.args for e in events if e.name == "JobSubmitted" and e.args["teeAddress"] == address]
    still = {job["fileId"] for job in jobs if contracts.tee_pool.job(job["jobId"]).status is JobStatus.SUBMITTED}
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    history = SigningProtection(fresh, create=True)
    try:
        proven = sum(_learn(history, place, contracts, address, file) for file in sorted(files | still))
        blocked = sum(history.block(_slot(place, address, file)) for file in sorted(still))
        history.close()
        fresh.rename(path)
    finally:
        history.close()
        fresh.unlink(missing_ok=True)
    return Rebuilt(proven, blocked)


def _learn(history: SigningProtection, place: Place, contracts: Contracts, address: str, file: int) -> bool:
    """Whether a proof of ours was found; of several with different content (there must not be) the first is refused by
    the history itself.
    """
    url, found = contracts.registry.file(file).url, False
    for index in range(1, MOST_PROOFS + 1):
        proof = contracts.registry.proof(file, index)
        if not proof.signature:
            break
        if proof.data.dlp_id == place.dlp_id and _signer(url, proof) == address:
            history.learn(_slot(place, address, file), proof_digest(url, proof.data))
            found = True
    return found


def _slot(place: Place, address: str, file: int) -> Slot:
    return Slot(place.chain_id, place.registry, address, file, place.dlp_id)


def _signer(url: str, proof: Proof) -> str | None:
    try:
        return str(Account.recover_message(proof_message(url, proof.data), signature=proof.signature))
    except (BadSignature, ValidationError, ValueError):
        return None


def _events(follower: Follower) -> list[Event]:
    events: list[Event] = []
    checkpoint: Checkpoint | None = None
    while True:
        batch = follower.scan(checkpoint)
        if batch.rollback_to is not None:
            raise ValidatorError("the chain reorganised while it was read; run this again")
        events += batch.events
        if batch.checkpoint is None or batch.checkpoint == checkpoint:
            return events
        checkpoint = batch.checkpoint
