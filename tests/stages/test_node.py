"""What a node still believes after the chain was rolled back under it."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from validator.journal import Journal
from validator.journal.database import Mark, Row
from validator.rounds.types import Carry
from validator.stages.node import Node

# What a node holds in memory is either derived from events, and then forgotten, or stays right on any branch.
FORGOTTEN = {
    "_chronicle",
    "epoch_secrets",
    "due_since",
    "score_failures",
    "waits",
    "told",
    "history_checked",
    "grants_read",
}
FORGOTTEN |= {"held", "fees_done", "peers_read", "released", "release_place", "exit_delays"}
STAYS = {
    "w3": "the way to the chain",
    "deployment": "code and wiring, below every checkpoint",
    "contracts": "the same",
    "follower": "holds no position",
    "journal": "is rolled back before",
    "store": "content, by digest",
    "reader": "a key",
    "identity": "a key; its sender reads the journal, its protection is never rolled back",
    "manifests": "by digest",
    "carry": "by digest of the last bundle, which chains to all before; `load_carry` compares",
    "backfill": "words for the log",
    "unsettled": "asked for anew in every tick",
    "stagger_seconds": "an option",
    "clock": "an option",
    "progress": "an option",
    "transactions": "is rolled back with the journal",
    "scoring": "a lock",
    "peers": "rules, not what they found",
    "keep_seconds": "an option",
    "documents_pinned": "by digest",
    "swept_at": "about the disk",
    "sweep_due": "about the disk",
    "engine": "an option",
}


def test_node__every_field__is_forgotten_by_a_rollback_or_right_on_any_branch():
    assert {field.name for field in fields(Node)} == FORGOTTEN | STAYS.keys()
    assert not FORGOTTEN & STAYS.keys()


def test_first_time__of_an_attempt__is_once(tmp_path: Path):
    node = node_over(journal := Journal(tmp_path / "journal.sqlite"))
    rounds = range(1, 3)
    opened = [
        Row(number, 0, b"t" * 32, "ScoringRounds", "RoundOpened", {"round": number, "manifest": b"m" * 32})
        for number in rounds
    ]
    journal.record(opened, Mark(len(rounds), b"h" * 32, 50))
    states = node.chronicle.rounds()
    assert [node.first_time("reported", states[1]) for _ in range(3)] == [True, False, False]
    assert node.first_time("committed", states[1])
    assert node.first_time("reported", states[2])
    assert node.first_time("reported", replace(states[1], attempt=2))
    node.let_go()
    assert not node.first_time("reported", states[1])


def test_forget_chain__after_a_rollback__derived_state_is_that_of_a_new_node(tmp_path: Path):
    journal = Journal(tmp_path / "journal.sqlite")
    node = node_over(journal)
    opened = {"round": 1, "manifest": b"m" * 32}
    journal.record([Row(5, 0, b"t" * 32, "ScoringRounds", "RoundOpened", opened)], Mark(5, b"h" * 32, 50))
    assert list(node.chronicle.rounds()) == [1]
    node.epoch_secrets, node.due_since, node.waits = {1: b"s"}, {"close/1": 1.0}, {"round 1": "x"}
    node.score_failures, node.history_checked, node.grants_read = {(1, 1): (3, 9.0)}, 4, 5
    node.peers_read, node.released, node.release_place, node.exit_delays = 7, {1}, (3, 4), {1: 9}
    node.held, node.fees_done, node.carry, node.told = {1}, {1}, Carry(), {("reported", 1, 1)}
    journal.rollback(4)
    node.forget_chain()
    fresh = node_over(journal)
    for name in FORGOTTEN - {"_chronicle"}:
        assert getattr(node, name) == getattr(fresh, name), name
    assert node.chronicle.rounds() == fresh.chronicle.rounds() == {}
    assert list(node.chronicle.since(-1, "RoundOpened")) == node.chronicle.facts("ValidatorJoined") == []


def node_over(journal: Journal) -> Node:
    parts = cast(Any, SimpleNamespace())
    return Node(w3=parts, deployment=parts, contracts=parts, follower=parts, journal=journal, store=parts)
