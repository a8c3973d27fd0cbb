"""Does our signing history know what the chain shows that we signed? If not, nothing may be signed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

import structlog

from validator.chain.typed_data import attestation_digest, recover
from validator.chain.types import Attestation, Deployment
from validator.journal import ProtectionError, SigningProtection
from validator.journal.interchange import UNKNOWN
from validator.journal.protection import Slot
from validator.rounds.lifecycle import Fact, RoundState
from validator.stages import commit
from validator.stages.node import Node, Reader

log = structlog.get_logger("history")


def check(node: Node) -> None:
    """Raise `ProtectionError` if the chain holds an attestation of ours that the signing history lacks, or knows
    with other content.

    That is how a history that was emptied, or left behind on another machine, is noticed before it does harm. Where the
    history only knows that something may have been signed, it learns what.
    """
    identity = node.identity
    if identity is None:
        return
    last = node.chronicle.read_to
    for slot, digest in _news(node, identity, node.history_checked):
        known = identity.protection.signed(slot)
        if known == UNKNOWN:
            identity.protection.learn(slot, digest)
            log.info("the chain shows what was signed", round=slot.round, attempt=slot.attempt, digest=digest.hex())
        elif known != digest:
            raise ProtectionError(
                f"the chain shows our attestation of round {slot.round}, attempt {slot.attempt}, the signing history "
                "does not: make sure that no other machine signs with this key, then import the history of the one "
                "that signed it (`validator keys protection-import`), or `validator keys protection-rebuild`"
            )
    node.history_checked = last


def rebuild(node: Node, reader: Reader, history: SigningProtection) -> tuple[int, int]:
    """Put into `history` what the chain proves that we signed, and block every attempt that may still be signed for and
    of which that is not known. Returns the numbers of both.

    The chain does not show what was signed and never sent: hence the blocks. They cost at most the rounds that are open
    now. An attempt that begins later cannot have been signed for.
    """
    proven = 0
    for slot, digest in _news(node, reader, -1):
        history.learn(slot, digest)
        proven += 1
    blocked = 0
    for state, attempts in _unsettled(node):
        bound = commit.committed_digest(node, reader, state)
        if bound is not None:
            history.learn(commit.slot_of(node, reader, state), bound)
        place = node.deployment
        slots = (Slot(place.chain_id, place.rounds, reader.operator, state.round, a) for a in range(1, attempts + 1))
        blocked += sum(history.block(slot) for slot in slots)
    return proven, blocked


def _news(node: Node, reader: Reader, above: int) -> Iterator[tuple[Slot, bytes]]:
    """What the blocks above one show that we have signed."""
    facts = chain(node.chronicle.facts("ValidatorJoined"), node.chronicle.since(above, "Attested"))
    return ours(node.deployment, reader.operator, facts)


def ours(place: Deployment, operator: str, facts: Iterable[Fact]) -> Iterator[tuple[Slot, bytes]]:
    """Attestations by an operator out of `facts` (it joined, it attested), which one of its signing keys has really
    signed: an endpoint may say anything. Raises `ProtectionError` for another one.
    """
    operator, keys = operator.lower(), set[str]()
    for fact in facts:
        if fact.name not in ("ValidatorJoined", "Attested") or fact.args["operator"] != operator:
            continue
        if fact.name == "ValidatorJoined":
            keys.add(fact.args["signer"])
            continue
        digest = attestation_digest(place.chain_id, place.rounds, Attestation(**fact.args["attestation"]))
        signed_by = recover(digest, bytes(fact.args["signature"]))
        if digest != fact.args["digest"] or signed_by is None or signed_by.lower() not in keys:
            raise ProtectionError(
                f"the endpoint shows an attestation of round {fact.args['round']} as ours that our key has not signed: "
                "it lies, use another one"
            )
        yield Slot(place.chain_id, place.rounds, operator, fact.args["round"], fact.args["attempt"]), digest


def _unsettled(node: Node) -> Iterator[tuple[RoundState, int]]:
    """Rounds for which something may still be signed, with their newest attempt by the chain's head: what is final lags
    behind it, and another machine may have seen more.
    """
    now, rounds, states = node.finalised_time(), node.contracts.rounds, node.chronicle.rounds()
    for number in range(1, rounds.current_round()):
        state = states.get(number, RoundState(number, b""))
        over = state.final is not None or state.abandoned
        if over and now > state.attest_deadline:
            continue
        yield state, max(1, rounds.round_info(number).attempt)
