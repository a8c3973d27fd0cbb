"""Backfill of events by the follower, beside a bare web3.py loop of get_logs and process_log, over one anvil chain.

Both read the same finalised blocks in the same ranges from the same endpoint, turn by turn in one process. The node's
side checks chain, block hashes and ranges, decodes, and (second row) writes everything to its journal.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from measure import Row, heeded, parser_of, report, samples, timing
from web3 import HTTPProvider, Web3

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.chain.round_play import Play, set_up
from tests.integration.test_anvil import AnvilChain, binary, listening, rpc
from validator.chain.artifacts import CONTRACTS, load
from validator.chain.devchain import DevChain
from validator.chain.follower import FIRST_RANGE, Checkpoint, Follower
from validator.chain.rpc import connect
from validator.chain.types import Event
from validator.journal import Journal
from validator.journal.database import Mark
from validator.stages.discover import to_row

DEPOSIT = 10**15


def filled(play: Play, events: int, each: int) -> None:
    """Submissions through the real registry: `events` of them, `each` in a block."""
    w3 = connect(play.chain.url, 60.0)
    registry, contributor = play.contracts.registry, play.chain.keys[4]
    rpc(w3, "evm_setAutomine", False)
    nonce = w3.eth.get_transaction_count(cast(Any, contributor.address))
    signer = play.signer(4)
    for start in range(0, events, each):
        for number in range(start, min(start + each, events)):
            call = registry.submit(number.to_bytes(32, "big", signed=False)[::-1], 0, 1_000, 1, DEPOSIT)
            fields = {"type": 2, "chainId": w3.eth.chain_id if start == number == 0 else 31337, "nonce": nonce}
            fields |= {"gas": 400_000, "maxFeePerGas": 10**12, "maxPriorityFeePerGas": 1, "to": call.to}
            fields |= {"value": call.value, "data": call.data}
            w3.eth.send_raw_transaction(signer.sign_transaction(fields))
            nonce += 1
        rpc(w3, "anvil_mine", "0x1")
    rpc(w3, "evm_setAutomine", True)


def ours(w3: Web3, play: Play) -> list[Event]:
    """Every event, by the follower."""
    follower, checkpoint, found = Follower(w3, play.deployment, 0), cast("Checkpoint | None", None), list[Event]()
    while True:
        batch = follower.scan(checkpoint)
        found += batch.events
        checkpoint = batch.checkpoint
        if batch.caught_up:
            return found


def journalled(w3: Web3, play: Play, folder: Path) -> int:
    """The same into a fresh journal, as a node does it."""
    path = folder / "journal.sqlite"
    for file in folder.glob("journal.sqlite*"):
        file.unlink()
    journal, follower, checkpoint, count = Journal(path), Follower(w3, play.deployment, 0), None, 0
    while True:
        batch = follower.scan(checkpoint)
        checkpoint = batch.checkpoint
        assert checkpoint is not None
        mark = Mark(checkpoint.number, checkpoint.hash, batch.timestamp)
        journal.record([to_row(event) for event in batch.events], mark)
        count += len(batch.events)
        if batch.caught_up:
            journal.close()
            return count


def bare(w3: Web3, play: Play) -> list[Any]:
    """Every event, by web3.py alone: the loop that one would write."""
    d = play.deployment
    named = dict(zip((d.dao, d.rounds, d.registry, d.validators, d.pool), CONTRACTS, strict=True))
    contracts = {a: w3.eth.contract(address=cast(Any, a), abi=load(name).abi) for a, name in named.items()}
    by_topic = {}
    for address, contract in contracts.items():
        for event in contract.events:
            by_topic[address, bytes(Web3.keccak(text=event.signature))] = event()
    found, start, head = [], d.block, w3.eth.block_number
    while start <= head:
        last = min(head, start + FIRST_RANGE - 1)
        wanted = cast(Any, {"address": list(named), "fromBlock": start, "toBlock": last})
        logs = w3.eth.get_logs(wanted)
        found += [by_topic[log["address"], bytes(log["topics"][0])].process_log(log) for log in logs]
        start = last + 1
    return found


def main() -> None:
    """Measure and print."""
    parser = parser_of(__doc__ or "")
    parser.add_argument("--events", type=int, default=20_000, help="submissions on the chain; 20,000 by default")
    given = heeded(parser)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = folder / "anvil.log"
        with log.open("w") as output:
            command = [str(binary()), "--port", "0", "--chain-id", "31337", "--hardfork", "prague"]
            anvil = subprocess.Popen([*command, "--gas-limit", "300000000"], stdout=output, stderr=subprocess.STDOUT)
            try:
                measured(listening(anvil, log), folder, given)
            finally:
                anvil.terminate()
                anvil.wait(10)


def measured(url: str, folder: Path, given: Any) -> None:  # noqa: ANN401 - argparse's namespace
    """The chain filled, then both loops in turns."""
    play = set_up(cast("DevChain", AnvilChain(url)), max_contributions=given.events + 1)
    filled(play, given.events, each=200)
    w3, plain = connect(url, 60.0), Web3(HTTPProvider(url))
    count = len(ours(w3, play))
    assert count == len(bare(plain, play)) == journalled(w3, play, folder) > given.events
    works: dict[str, Callable[[], object]] = {
        "bare web3.py": lambda: bare(plain, play),
        "follower": lambda: ours(w3, play),
        "follower into the journal": lambda: journalled(w3, play, folder),
    }
    taken = samples(works, given.repeats)
    rows = []
    for what, seconds in taken.items():
        speeds = timing([below / mine for below, mine in zip(taken["bare web3.py"], seconds, strict=True)])
        rate = f"{count / timing(seconds).median:,.0f} events/s"
        note = "" if what == "bare web3.py" else f", {speeds.median:.2f}x the bare loop (IQR {speeds.spread:.2f})"
        rows.append(Row(f"{what}, {count:,} events", timing(seconds), rate + note))
    report("Backfill", rows, given.json)


if __name__ == "__main__":
    main()
