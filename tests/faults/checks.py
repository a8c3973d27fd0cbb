"""What must hold of a validator whatever was done to it: one signature a slot, each transaction once, nothing open."""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from web3 import Web3

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
    on_chain = transactions_of(world.w3, operator, world.wallet.deployment.block)
    with sqlite3.connect(f"file:{world.folder / name / 'journal.sqlite'}?mode=ro", uri=True) as journal:
        rows = journal.execute("SELECT key, nonce, outcome, transaction_hash FROM intents").fetchall()
    assert all(outcome for _, _, outcome, _ in rows), f"under way: {rows}"
    mined = Counter(key for key, _, outcome, _ in rows if outcome == "mined")
    assert max(mined.values(), default=0) <= 1, f"mined twice: {mined}"
    assert {hash_: nonce for _, nonce, _, hash_ in rows if hash_} == on_chain, "chain and journal disagree"
    assert sorted(on_chain.values()) == list(range(len(on_chain))), "a nonce is missing"
    return Counter(outcome for _, _, outcome, _ in rows)


def transactions_of(w3: Web3, account: str, since: int) -> dict[bytes, int]:
    """Nonce by hash of every transaction from `account` in the blocks from `since` on."""
    found: dict[bytes, int] = {}
    for number in range(since, w3.eth.block_number + 1):
        block: Any = w3.eth.get_block(number, full_transactions=True)
        found |= {bytes(t["hash"]): t["nonce"] for t in block["transactions"] if t["from"] == account}
    return found
