"""Advance: the calls that anyone may make (open, close, draw the seed, finalise, retry).

Every validator could send each of them, and all but one would pay for a revert. So they take turns: for each round the
validators stand in an order that moves on by one a round, and the k-th waits k * stagger seconds before it does what
the ones ahead of it have left undone.
"""

from __future__ import annotations

import structlog

from validator.chain.errors import Reverted
from validator.chain.types import Call
from validator.rounds.lifecycle import Phase, RoundState
from validator.stages import commit
from validator.stages.node import Identity, Node

log = structlog.get_logger("advance")


def run(node: Node) -> None:
    """Send what is due, at our turn. What would revert is not sent: it is not due yet, or somebody was faster."""
    identity = node.identity
    if identity is None:
        return
    for intent, call in _due(node):
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
    due: list[tuple[str, Call]] = []
    for state in rounds.values():
        phase = state.phase(node.finalised_time())
        if phase is Phase.OPEN:
            due.append((f"close/{state.round}", contract.close()))
        elif phase is Phase.CLOSED:
            due.append((f"draw/{state.round}/{_rearmed(node, state)}", contract.draw_seed(state.round)))
        elif phase is Phase.STALLED:
            due.append((f"retry/{state.round}/{state.attempt}", contract.retry(state.round)))
        due += _finalise(node, state, phase)
    return due


def _finalise(node: Node, state: RoundState, phase: Phase) -> list[tuple[str, Call]]:
    if phase not in (Phase.ATTESTING, Phase.STALLED):
        return []
    step = node.journal.step(state.round, state.attempt, "scored")
    if step is None:
        return []
    call = node.contracts.rounds.finalise(commit.to_attestation(state, step))
    return [(f"finalise/{state.round}/{state.attempt}", call)]


def _rearmed(node: Node, state: RoundState) -> int:
    """How often the seed block slipped out of reach: each drawing is an intent of its own."""
    return sum(fact.args["round"] == state.round for fact in node.chronicle.facts("SeedRearmed"))


def _our_turn(node: Node, identity: Identity, intent: str) -> bool:
    """Whether those ahead of us have had their time, counted from when the step first would have passed."""
    operators = sorted({str(fact.args["operator"]) for fact in node.chronicle.facts("ValidatorJoined")})
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
