"""Commit: a salted hash of our answer on chain, before anyone has shown an answer that could be copied.

The salt is derived from our own secret, so it can be derived again; the answer, encrypted to ourselves, rides along in
the event. A node that lost its disk but kept its keys can still reveal.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

import structlog

from validator.chain.typed_data import attestation_digest, commit_hash
from validator.chain.types import Attestation
from validator.envelope import EnvelopeError, open_backup, seal_backup
from validator.journal.protection import Slot
from validator.rounds.lifecycle import RoundState
from validator.stages.node import Identity, Node, Reader

log = structlog.get_logger("commit")

_DIGESTS = ("inputs_root", "scores_root", "earnings_root", "evidence")


def run(node: Node, state: RoundState) -> None:
    """Commit once an attempt. The answer enters the signing protection first: from here on no other can be signed."""
    identity = node.identity
    step = node.journal.step(state.round, state.attempt, "scored")
    if identity is None or step is None or identity.operator.lower() in state.commits:
        return
    digest = digest_of(node, to_attestation(state, step))
    identity.protection.register(slot_of(node, identity, state), digest)
    commitment = node.journal.step(state.round, state.attempt, "commitment")
    if commitment is None:  # journalled, because the backup's nonce is random and one intent must be one call
        commitment = _commitment(node, identity, state, digest, step)
        node.journal.take_step(state.round, state.attempt, "commitment", commitment)
    call = node.contracts.rounds.commit(state.round, commitment["hash"], commitment["backup"])
    identity.sender.send(call, intent=f"commit/{state.round}/{state.attempt}")
    if node.first_time("committed", state):
        log.info("committed", round=state.round, attempt=state.attempt)


def _commitment(
    node: Node, identity: Identity, state: RoundState, digest: bytes, step: dict[str, Any]
) -> dict[str, bytes]:
    hashed = commit_hash(
        node.deployment.chain_id,
        node.deployment.rounds,
        state.round,
        state.attempt,
        identity.operator,
        digest,
        salt_of(node, identity, state),
    )
    backup = seal_backup(identity.hpke_secret, _to_backup(step), info=_backup_info(node, identity, state))
    return {"hash": hashed, "backup": backup}


def restore(node: Node, state: RoundState) -> None:
    """Bring back an answer that we committed to and no longer have, from the backup in our own event."""
    identity = node.identity
    if identity is None or node.journal.step(state.round, state.attempt, "scored") is not None:
        return
    backup = state.backups.get(identity.operator.lower())
    if backup:
        _restore(node, identity, state, backup)


def _restore(node: Node, identity: Identity, state: RoundState, backup: bytes) -> None:
    try:
        plain = open_backup(identity.hpke_secret, backup, info=_backup_info(node, identity, state))
    except EnvelopeError as error:
        log.warning("our backup on chain does not open; scoring again", round=state.round, error=str(error))
        return
    node.journal.take_step(state.round, state.attempt, "scored", _from_backup(plain))
    log.warning("answer restored from our backup on chain", round=state.round, attempt=state.attempt)


def committed_digest(node: Node, reader: Reader, state: RoundState) -> bytes | None:
    """The digest that our commit of this attempt binds us to, out of the backup in its event; None if there is none or
    it does not open. Nothing else can be revealed, and no node of ours signs anything else for the attempt.
    """
    operator, place = reader.operator.lower(), node.deployment
    if operator not in state.commits:
        return None
    try:
        plain = open_backup(reader.hpke_secret, state.backups[operator], info=_backup_info(node, reader, state))
    except EnvelopeError:
        return None
    digest = digest_of(node, to_attestation(state, _from_backup(plain)))
    salt = salt_of(node, reader, state)
    hashed = commit_hash(place.chain_id, place.rounds, state.round, state.attempt, reader.operator, digest, salt)
    return digest if hashed == state.commits[operator] else None


def _to_backup(step: Mapping[str, Any]) -> bytes:
    """164 bytes: four digests, two totals of 16 bytes and a count of 4, big-endian. Gas is paid by the byte."""
    roots = b"".join(step[name] for name in _DIGESTS)
    totals = step["round_total"].to_bytes(16, "big") + step["earned_total"].to_bytes(16, "big")
    return bytes(roots + totals + int(step["count"]).to_bytes(4, "big"))


def _from_backup(plain: bytes) -> dict[str, Any]:
    numbers = [int.from_bytes(plain[start:end], "big") for start, end in ((128, 144), (144, 160), (160, 164))]
    digests = {name: plain[32 * i : 32 * i + 32] for i, name in enumerate(_DIGESTS)}
    return {**digests, **dict(zip(("round_total", "earned_total", "count"), numbers, strict=True))}


def to_attestation(state: RoundState, step: dict[str, Any]) -> Attestation:
    """The full statement: what the chain fixed, and what we found."""
    return Attestation(
        round=state.round,
        attempt=state.attempt,
        manifest=state.manifest,
        seed=state.seed,
        inputs_root=step["inputs_root"],
        scores_root=step["scores_root"],
        earnings_root=step["earnings_root"],
        round_total=step["round_total"],
        earned_total=step["earned_total"],
        count=step["count"],
        evidence=step["evidence"],
    )


def digest_of(node: Node, attestation: Attestation) -> bytes:
    """EIP-712 digest of an attestation under this DAO's domain."""
    return attestation_digest(node.deployment.chain_id, node.deployment.rounds, attestation)


def slot_of(node: Node, reader: Reader, state: RoundState) -> Slot:
    """The one thing that may be signed at most once."""
    return Slot(node.deployment.chain_id, node.deployment.rounds, reader.operator, state.round, state.attempt)


def salt_of(node: Node, reader: Reader, state: RoundState) -> bytes:
    """32 bytes that nobody else can know and that we can always derive again: HMAC-SHA256 keyed by our HPKE secret."""
    place = f"poc-commit-salt/1|{node.deployment.chain_id}|{node.deployment.rounds.lower()}|{reader.operator.lower()}"
    return hmac.new(reader.hpke_secret, f"{place}|{state.round}|{state.attempt}".encode(), hashlib.sha256).digest()


def _backup_info(node: Node, reader: Reader, state: RoundState) -> bytes:
    place = f"{node.deployment.chain_id}|{node.deployment.rounds.lower()}|{reader.operator.lower()}"
    return f"poc-commit-backup/1|{place}|{state.round}|{state.attempt}".encode()
