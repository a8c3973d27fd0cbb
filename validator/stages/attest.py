"""Attest: our answer, signed under EIP-712, to the chain. Signing protection comes before the signer, always."""

from __future__ import annotations

import structlog

from validator.chain.typed_data import attestation_data
from validator.rounds.lifecycle import RoundState
from validator.stages import commit
from validator.stages.node import Node

log = structlog.get_logger("attest")


def run(node: Node, state: RoundState) -> None:
    """Attest once an attempt, if we committed in it."""
    identity = node.identity
    if identity is None:
        return
    operator = identity.operator.lower()
    if operator in state.attestations or operator not in state.commits:
        return
    commit.restore(node, state)
    step = node.journal.step(state.round, state.attempt, "scored")
    if step is None:
        return
    attestation = commit.to_attestation(state, step)
    digest = commit.digest_of(node, attestation)
    identity.protection.register(commit.slot_of(node, identity, state), digest)
    signed = node.journal.step(state.round, state.attempt, "signature")
    if signed is None or signed["digest"] != digest:  # journalled: a remote signer need not give the same one again
        data = attestation_data(node.deployment.chain_id, node.deployment.rounds, attestation)
        signed = {"digest": digest, "signature": identity.signer.sign_typed_data(data)}
        node.journal.take_step(state.round, state.attempt, "signature", signed)
    call = node.contracts.rounds.attest(
        attestation, commit.salt_of(node, identity, state), identity.operator, signed["signature"]
    )
    identity.sender.send(call, intent=f"attest/{state.round}/{state.attempt}")
    if node.first_time("attested", state):
        log.info("attested", round=state.round, attempt=state.attempt, digest=digest.hex())
