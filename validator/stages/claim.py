"""Claim: our share of the validator fee of a finalised round, once its attest deadline has passed."""

from __future__ import annotations

import structlog

from validator.chain.errors import Reverted
from validator.rounds.lifecycle import RoundState
from validator.stages.node import Node

log = structlog.get_logger("claim")


def run(node: Node, state: RoundState) -> None:
    """Claim once a round, if our answer was the quorum's."""
    identity = node.identity
    if identity is None or state.final is None or state.round in node.fees_done:
        return
    if node.finalised_time() <= state.attest_deadline:
        return
    mine = state.attestations.get(identity.operator.lower())
    if mine is None or mine[0] != state.final_digest or node.journal.step(state.round, 0, "fee") is not None:
        node.fees_done.add(state.round)
        return
    call = node.contracts.pool.claim_fee(state.round, identity.operator)
    try:
        identity.sender.simulate(call)
    except Reverted as error:
        log.info("no fee to claim", round=state.round, reason=str(error))
    else:
        identity.sender.send(call, intent=f"fee/{state.round}")
        log.info("fee claimed", round=state.round)
    node.journal.take_step(state.round, 0, "fee", {})
    node.fees_done.add(state.round)
