"""Report: one bitmap on chain of what this node fetched and verified."""

from __future__ import annotations

import structlog

from validator.rounds.included import encode_bitmap
from validator.rounds.lifecycle import RoundState
from validator.stages import fetch
from validator.stages.node import Node

log = structlog.get_logger("report")


def run(node: Node, state: RoundState, *, all_tried: bool) -> None:
    """Report once an attempt: when everything was tried, or when half of the time to report has passed."""
    identity = node.identity
    if identity is None or identity.operator.lower() in state.reports:
        return
    opened = state.report_deadline - _length(node, state)
    if not all_tried and node.finalised_time() < (opened + state.report_deadline) // 2:
        return
    step = node.journal.step(state.round, state.attempt, "reported")
    if step is None:
        ids = [s.id for s in fetch.of_round(node, state) if fetch.available(node, s)]
        step = {"bitmap": encode_bitmap(state.first_id, state.end_id, ids)}
        node.journal.take_step(state.round, state.attempt, "reported", step)
    call = node.contracts.rounds.report_availability(state.round, step["bitmap"])
    identity.sender.send(call, intent=f"report/{state.round}/{state.attempt}")
    if node.first_time("reported", state):
        log.info("reported availability", round=state.round, attempt=state.attempt)


def _length(node: Node, state: RoundState) -> int:
    return node.contracts.rounds.parameters_of(state.round).report_seconds
