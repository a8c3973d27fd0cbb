"""Watch: after a tick, is the node doing what it is there for? Nothing here changes what it does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from eth_utils.address import to_checksum_address

from validator.chain.errors import ChainError
from validator.chain.rpc import understood
from validator.content import ContentError, Store
from validator.rounds.lifecycle import RoundState
from validator.rounds.score import version_gap
from validator.stages.node import Node

LOOK_SECONDS = 15.0
"""Head and content store are asked no more often than this."""
PROBE = b"proof-of-contribution: a validator looks whether its content store works\n"
LATEST = 8
"""Rounds that are looked at: those whose deadlines may just have passed."""


@dataclass(frozen=True, slots=True)
class Missed:
    """A duty that this operator had in a round's attempt, and whose deadline passed without it."""

    round: int
    attempt: int
    duty: str

    def told(self) -> dict[str, Any]:
        """As fields of a log line."""
        return {"round": self.round, "attempt": self.attempt, "duty": self.duty}


@dataclass(frozen=True, slots=True)
class Duty:
    """A node seen from outside. Times in Unix seconds, 0 where not known yet; `asked_at` by the monotonic clock.

    `waiting_nonce`, the lowest that is under way, has been so since `waiting_since` (monotonic clock).

    `content_fault` says why the content store fails, "" when it works. `missed` are the duties of the latest round in
    which this operator had any: it is empty again once a round went well. `unscorable`: rounds that are not over and
    want another scorer than this release has, with the reason.
    """

    head_time: int = 0
    finalised_time: int = 0
    finalised_block: int = 0
    content_fault: str = ""
    unsettled: int = 0
    waiting_nonce: int | None = None
    waiting_since: float = 0.0
    balance_wei: int | None = None
    asked_at: float = float("-inf")
    missed: frozenset[Missed] = field(default_factory=frozenset)
    unscorable: tuple[tuple[int, str], ...] = ()


def look(node: Node, before: Duty | None) -> Duty:
    """Look at a node after a tick. Chain and content store are asked only if the last time is long enough ago."""
    mark = node.journal.mark()
    known = before or Duty()
    asked, now = known, time.monotonic()
    waiting = min(node.unsettled, default=None)
    if now - known.asked_at >= LOOK_SECONDS:
        head, balance = _chain(node, known)
        asked = Duty(head_time=head, balance_wei=balance, content_fault=probe(node.store), asked_at=now)
    return Duty(
        head_time=asked.head_time,
        finalised_time=mark.timestamp if mark else 0,
        finalised_block=mark.number if mark else 0,
        content_fault=asked.content_fault,
        unsettled=len(node.unsettled),
        waiting_nonce=waiting,
        waiting_since=known.waiting_since if waiting == known.waiting_nonce else now,
        balance_wei=asked.balance_wei,
        asked_at=asked.asked_at,
        missed=frozenset(_missed(node)),
        unscorable=tuple(_unscorable(node)),
    )


def _chain(node: Node, known: Duty) -> tuple[int, int | None]:
    """Timestamp of the newest block, and what our account holds. An endpoint that fails leaves both as they were."""
    try:
        with understood("its newest block"):
            head = int(node.w3.eth.get_block("latest")["timestamp"])
        if node.identity is None:
            return head, None
        with understood("a balance"):
            return head, int(node.w3.eth.get_balance(to_checksum_address(node.identity.sender.address)))
    except ChainError:
        return known.head_time, known.balance_wei


def probe(store: Store) -> str:
    """Why a content store does not keep what it is given, or "". The probe is always the same file."""
    try:
        cid = store.put(PROBE)
        if store.read(cid, len(PROBE)) != PROBE:
            return "it returned another file than was put into it"
    except (ContentError, OSError) as error:
        return str(error)
    return ""


def _unscorable(node: Node) -> Iterator[tuple[int, str]]:
    """Rounds whose manifest this node has read, and which it will refuse to score."""
    if node.reader is None:
        return
    for number, state in sorted(node.chronicle.rounds().items()):
        over = state.final is not None or state.abandoned
        manifest = None if over else node.manifests.get(state.manifest)
        if manifest is not None and (gap := version_gap(manifest.versions)):
            yield number, gap


def _missed(node: Node) -> Iterator[Missed]:
    """What was missed in the latest round that asked anything of us and whose deadlines have begun to pass."""
    identity = node.identity
    if identity is None:
        return
    operator, now = identity.operator.lower(), node.finalised_time()
    rounds = node.chronicle.rounds()
    for number in sorted(rounds, reverse=True)[:LATEST]:
        state = rounds[number]
        if state.attempt == 0 or state.weight([operator]) == 0 or now <= state.report_deadline:
            continue
        yield from (Missed(state.round, state.attempt, duty) for duty in _duties(state, operator, now))
        return


def _duties(state: RoundState, operator: str, now: int) -> Iterator[str]:
    if operator not in state.reports:
        yield "report"
    if now > state.commit_deadline and operator not in state.commits:
        yield "commit"
    if now > state.attest_deadline and operator in state.commits and operator not in state.attestations:
        yield "attest"
