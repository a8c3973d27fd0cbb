"""Advance: the calls that anyone may make (open, close, draw the seed, finalise, retry).

Every validator could send each of them, and all but one would pay for a revert. So they take turns: for each round the
validators stand in an order that moves on by one a round, and the k-th waits k * stagger seconds before it does what
the ones ahead of it have left undone.
"""

from __future__ import annotations

import structlog

from validator.chain.errors import Reverted
from validator.chain.types import Attestation, Call
from validator.rounds.lifecycle import Phase
from validator.stages.node import Identity, Node

log = structlog.get_logger("advance")


def run(node: Node) -> None:
    """Send what is due, at our turn. What would revert is not sent: it is not due yet, or somebody was faster."""
    identity = node.identity
    if identity is None:
        return
    due = _due(node)
    intents = {intent for intent, _ in due}
    node.due_since = {intent: since for intent, since in node.due_since.items() if intent in intents}
    for intent, call in due:
        if _would_pass(identity, call) and _our_turn(node, identity, intent):
            _send(identity, intent, call)


def _send(identity: Identity, intent: str, call: Call) -> None:
    try:
        identity.sender.send(call, intent=intent)
    except Reverted as error:
        log.info("somebody was faster", step=intent, reason=str(error))
    else:
        log.info("advanced", step=intent)


def _due(node: Node) -> list[tuple[str, Call]]:
    contract, rounds = node.contracts.rounds, node.chronicle.rounds()
    if not rounds:
        return [("open/1", contract.open())]
    due = _draw(node, max(rounds))
    for state in rounds.values():
        phase = state.phase(node.finalised_time())
        agreed = state.agreed()
        if phase is Phase.OPEN:
            due.append((f"close/{state.round}", contract.close()))
        elif phase is Phase.STALLED:
            due.append((f"retry/{state.round}/{state.attempt}", contract.retry(state.round)))
        elif phase is Phase.ATTESTING and agreed is not None:
            due.append((f"finalise/{state.round}/{state.attempt}", contract.finalise(Attestation(**agreed))))
    return due


def _draw(node: Node, newest: int) -> list[tuple[str, Call]]:
    """The seed is drawn by the chain's head, not by what is final: the block hash that it is made of is out of reach
    256 blocks later, which on some chains is sooner than finality. Drawing decides nothing, so nothing can be undone.
    """
    number = node.contracts.rounds.current_round() - 1
    if number < 1 or number < newest - 1:
        return []
    info = node.contracts.rounds.round_info(number)
    if Phase(info.phase) is not Phase.CLOSED:
        return []
    return [(f"draw/{number}/{info.seed_block}", node.contracts.rounds.draw_seed(number))]


def _our_turn(node: Node, identity: Identity, intent: str) -> bool:
    """Whether those ahead of us have had their time, counted from when the step first would have passed."""
    operators = sorted(operator for operator, (_, weight) in node.chronicle.members().items() if weight)
    if identity.operator.lower() not in operators:
        return False
    turn = (operators.index(identity.operator.lower()) + int(intent.split("/")[1])) % len(operators)
    first_seen = node.due_since.setdefault(intent, node.clock())
    return node.clock() >= first_seen + turn * node.stagger_seconds


def _would_pass(identity: Identity, call: Call) -> bool:
    try:
        identity.sender.simulate(call)
    except Reverted as error:
        log.debug("not yet", reason=str(error))
        return False
    return True
