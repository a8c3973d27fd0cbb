"""Peers: read also from the validators that announced on chain where they serve what they have pinned.

That is how whoever lacks an included contribution gets it: those who reported it hold it, and must pin it.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence

import structlog

from validator.content import LayeredStore, peer_opener
from validator.rounds.lifecycle import Fact
from validator.stages.node import Node

log = structlog.get_logger("peers")

FACTS = ("PeerAnnounced", "ValidatorJoined", "StakeWithdrawn")
"""Events that say who serves where."""
MOST_PEERS = 64
"""Peers in use at once. Operators are admitted one by one, so more than this is not expected."""


def run(node: Node) -> None:
    """Take up what was announced since the last look."""
    if not node.peers.used or not isinstance(node.store, LayeredStore):
        return
    facts = {name: node.chronicle.facts(name) for name in FACTS}
    seen = sum(map(len, facts.values()))
    if seen == node.peers_read:
        return
    own = node.reader.operator.lower() if node.reader is not None else ""
    urls = in_turn(announced(facts), own)
    for operator, reason in node.store.set_peers(urls, peer_opener(private=node.peers.private)).items():
        log.warning("a peer is not used", operator=operator, reason=reason)
    node.peers_read = seen


def announced(facts: Mapping[str, Sequence[Fact]]) -> dict[str, str]:
    """The last URL of each operator whose stake is still in the set."""
    inside = Counter(str(fact.args["operator"]) for fact in facts["ValidatorJoined"])
    inside.subtract(str(fact.args["operator"]) for fact in facts["StakeWithdrawn"])
    last = {str(fact.args["operator"]): str(fact.args["url"]) for fact in facts["PeerAnnounced"]}
    return {operator: url for operator, url in last.items() if url and inside[operator] > 0}


def in_turn(urls: Mapping[str, str], own: str) -> dict[str, str]:
    """The peers of `own`: every other operator, each URL once, in an order that differs from node to node so that not
    all of them ask the same one first.
    """
    ordered = sorted(urls, key=lambda operator: hashlib.sha256(f"{own} {operator}".encode()).digest())
    chosen: dict[str, str] = {}
    for operator in ordered:
        url = urls[operator]
        if operator != own and url != urls.get(own) and url not in chosen.values():
            chosen[operator] = url
    return dict(list(chosen.items())[:MOST_PEERS])
