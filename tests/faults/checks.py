"""What must hold of a validator whatever was done to it: one signature a slot, each transaction once, nothing open."""

from __future__ import annotations

import json
import sqlite3
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.faults.victim import LEDGER
from tests.support import World


def check_signatures(world: World, name: str, records: Path, rounds: list[int]) -> None:
    """Of each round and attempt one content was signed, and it is the one on chain, once."""
    operator = world.keys[name].address
    signed: dict[tuple[int, int], set[str]] = defaultdict(set)
    for line in (records / LEDGER).read_text().splitlines():
        address, number, attempt, digest = line.split()
        if address == operator:
            signed[int(number), int(attempt)].add(digest)
    assert all(len(digests) == 1 for digests in signed.values()), f"signed twice: {signed}"
    attested = [f for f in world.facts() if f.name == "Attested" and f.args["operator"] == operator.lower()]
    for number in rounds:
        mine = [fact for fact in attested if fact.args["round"] == number]
        assert len(mine) == len({fact.args["attempt"] for fact in mine}) >= 1
        for fact in mine:
            assert signed[number, fact.args["attempt"]] == {fact.args["digest"].hex()}


def check_transactions(world: World, name: str) -> Counter[str]:
    """Chain and journal name the same transactions, each intent was mined at most once, and none is under way.

    Returns outcomes by number.
    """
    operator = world.keys[name].address
    on_chain = transactions_of(world, operator)
    with closing(sqlite3.connect(f"file:{world.folder / name / 'journal.sqlite'}?mode=ro", uri=True)) as journal:
        rows = journal.execute("SELECT key, nonce, outcome, transaction_hash FROM intents").fetchall()
    assert all(outcome for _, _, outcome, _ in rows), f"under way: {rows}"
    mined = Counter(key for key, _, outcome, _ in rows if outcome == "mined")
    assert max(mined.values(), default=0) <= 1, f"mined twice: {mined}"
    assert {hash_: nonce for _, nonce, _, hash_ in rows if hash_} == on_chain, "chain and journal disagree"
    assert sorted(on_chain.values()) == list(range(len(on_chain))), "a nonce is missing"
    return Counter(outcome for _, _, outcome, _ in rows)


def transactions_of(world: World, account: str) -> dict[bytes, int]:
    """Nonce by hash of every transaction from `account` since the DAO was founded."""
    found: dict[bytes, int] = {}
    latest = int(ask(world.chain.url, [("eth_getBlockByNumber", "latest", False)])[0]["number"], 16)
    blocks = range(world.wallet.deployment.block, latest + 1)
    for first in range(0, len(blocks), 100):
        some = [("eth_getBlockByNumber", hex(number), True) for number in blocks[first : first + 100]]
        for block in ask(world.chain.url, some):
            mine = [sent for sent in block["transactions"] if sent["from"].lower() == account.lower()]
            found |= {bytes.fromhex(sent["hash"][2:]): int(sent["nonce"], 16) for sent in mine}
    return found


def ask(url: str, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
    """The results of one JSON-RPC batch, in order."""
    batch = [{"jsonrpc": "2.0", "id": n, "method": method, "params": given} for n, (method, *given) in enumerate(calls)]
    request = urllib.request.Request(url, json.dumps(batch).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=300) as response:
        answers = sorted(json.load(response), key=lambda answer: answer["id"])
    refused = [answer["error"] for answer in answers if "error" in answer]
    assert not refused, refused[:1]
    return [answer["result"] for answer in answers]
