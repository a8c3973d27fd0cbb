"""Rounds of one validator on a real anvil, in this process and in time of its own, with things done to the chain or to
the way there; and what must hold afterwards.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from hexbytes import HexBytes

from tests.faults.anvil import Anvil
from tests.faults.checks import check_transactions
from tests.faults.tiny import TinyWorld
from tests.integration.test_anvil import rpc
from tests.support import CLEAN
from validator.actions.connect import open_node
from validator.chain.errors import RpcFault
from validator.chain.follower import Follower
from validator.chain.pool import Pool
from validator.chain.rpc import pool_of
from validator.chain.types import Phase
from validator.journal import Journal
from validator.settings import load_settings
from validator.stages import discover
from validator.stages.node import Contracts, Node
from validator.stages.round import tick

NAME = "validator-1"
FINALITY = 6
BLOCKS_A_TICK = 2
TICKS = 250
STUCK_TICKS = 12
STAGES = (Phase.OPEN, Phase.CLOSED, Phase.REPORTING, Phase.COMMITTING, Phase.ATTESTING, Phase.FINALISED)


class RpcWorld(TinyWorld):
    """Finality is a depth, so that a reorganisation can reach below it."""

    options: ClassVar[dict[str, str | int | float]] = {
        "poll_seconds": 0.1,
        "stagger_seconds": 0.0,
        "finality": str(FINALITY),
        "rpc_timeout": 10.0,
    }


class Time:
    """Seconds that pass when somebody waits, with a block for each wait: nobody waits for the wall's clock."""

    def __init__(self, chain: Anvil) -> None:
        self.now = 1_700_000_000.0
        self._chain = chain

    def __call__(self) -> float:
        return self.now

    def pause(self, _seconds: float) -> None:
        self.now += 5.0
        self._chain.mine(1)


class Recording:
    """A signer that writes down what it signs."""

    def __init__(self, signer: Any, ledger: dict[tuple[int, int], set[bytes]]) -> None:
        self._signer, self._ledger = signer, ledger

    def __getattr__(self, name: str) -> Any:
        return getattr(self._signer, name)

    def sign_typed_data(self, data: Any) -> bytes:
        self._ledger[data.message["round"], data.message["attempt"]].add(data.digest)
        return bytes(self._signer.sign_typed_data(data))


class Rig:
    """An anvil that mines with transactions and on request only, a DAO on it, and its one validator."""

    def __init__(self, folder: Path) -> None:
        self.chain = Anvil(folder)
        try:
            self._found(folder)
        except BaseException:
            self.close()
            raise

    def _found(self, folder: Path) -> None:
        self.world = RpcWorld(
            folder,
            validators=1,
            capacity=1,
            chain=self.chain,
            max_attempts=8,
            report_seconds=900,
            commit_seconds=900,
            attest_seconds=900,
            exit_seconds=50_000,
        )
        rpc(self.chain.w3, "evm_setIntervalMining", 0)
        rpc(self.chain.w3, "evm_setAutomine", True)
        self.chain.mine(30)
        self.time = Time(self.chain)
        self.signed: dict[tuple[int, int], set[bytes]] = defaultdict(set)
        self.reorganisations = 0
        self.faults = 0

    def close(self) -> None:
        """End the chain."""
        self.chain.stop()

    def node(self, urls: Sequence[str] = (), **options: Any) -> Node:
        """The validator over `urls` (the chain itself by default), in this rig's time."""
        given = {"rpc": ",".join(urls) or self.chain.url, **options}
        node = open_node(load_settings(self.world.folder / NAME, **given), dry_run=False)
        assert node.identity is not None
        sender = node.identity.sender
        sender._clock, sender._pause = self.time, self.time.pause
        node.identity = replace(node.identity, signer=Recording(node.identity.signer, self.signed))
        pool: Pool = pool_of(node.w3)
        pool.clock, pool._jitter = self.time, random.Random(1)
        pool._survey_at = 0.0
        node.clock = self.time
        return node

    @property
    def number(self) -> int:
        """The open round."""
        return int(self.world.wallet.contracts.rounds.current_round())

    def phase(self, number: int) -> Phase:
        """Where a round stands at the head."""
        return Phase(self.world.wallet.contracts.rounds.round_info(number).phase)

    # A round

    def play(self, node: Node, strikes: Mapping[Phase, Callable[[], object]]) -> int:
        """The open round to its end: final, fee claimed, every transaction settled. When it first comes to a phase,
        what `strikes` says for it is done. Returns its number.
        """
        number = self.number
        self.world.contribute(CLEAN)
        waiting = dict(strikes)
        last, since = Phase.NONE, 0
        for _ in range(TICKS):
            phase = self.phase(number)
            for due in [stage for stage in waiting if stage <= phase <= Phase.FINALISED]:
                waiting.pop(due)()
            self._tick(node)
            if not waiting and self._ended(node, number):
                return number
            last, since = (phase, since + 1) if phase is last else (phase, 0)
            self._pass_time(number, phase, stuck=since > STUCK_TICKS)
            since = 0 if since > STUCK_TICKS else since
        raise AssertionError(f"round {number} did not end: {self.phase(number)}, {node.waits}")

    def _tick(self, node: Node) -> None:
        try:
            tick(node)
        except RpcFault:
            self.faults += 1
            self.time.now += 5.0

    def _pass_time(self, number: int, phase: Phase, *, stuck: bool) -> None:
        """Blocks; and once a round is final, its attest deadline passes, so that the fee can be claimed. A round that
        does not move is given the time that ends its phase.
        """
        self.time.now += 5.0
        self.chain.mine(BLOCKS_A_TICK)
        info = self.world.wallet.contracts.rounds.round_info(number)
        left = info.attest_deadline + 1 - int(self.chain.w3.eth.get_block("latest")["timestamp"])
        if phase is Phase.FINALISED and left > 0:
            self.chain.advance(left)
        elif stuck:
            self.chain.advance(910)

    def _ended(self, node: Node, number: int) -> bool:
        assert node.identity is not None
        sender = node.identity.sender
        return (
            self.phase(number) is Phase.FINALISED
            and node.journal.step(number, 0, "fee") is not None
            and not sender._log.unsettled(sender.chain_id, sender.address)
        )

    # Reorganisations

    def reorganise(self, depth: int, rng: random.Random) -> None:
        """Replace the last `depth` blocks by others. What others sent comes again, as it would from a mempool; what the
        validator sent does in one case of two, so that it must look after its own.
        """
        w3, mine = self.chain.w3, self.world.keys[NAME].address
        head = int(w3.eth.block_number)
        dropped: list[tuple[str, HexBytes]] = []
        for height in range(head - depth + 1, head + 1):
            block: Any = w3.eth.get_block(height, full_transactions=True)
            dropped += [(t["from"], t["hash"]) for t in block["transactions"]]
        raws = [(sender, rpc(w3, "eth_getRawTransactionByHash", hash_.to_0x_hex())) for sender, hash_ in dropped]
        rpc(w3, "anvil_reorg", depth, [])
        self.reorganisations += 1
        gone = False
        for sender, raw in raws:
            gone |= sender == mine and rng.random() < 0.5
            if sender != mine:
                receipt = w3.eth.wait_for_transaction_receipt(w3.eth.send_raw_transaction(HexBytes(raw)), 30, 0.05)
                assert receipt["status"] == 1, "what others did must stand again"
            elif not gone:
                with suppress(RpcFault):  # may be refused by now: it was sent to another state
                    w3.eth.send_raw_transaction(HexBytes(raw))

    # What must hold

    def check(self, node: Node, number: int) -> None:
        """One signature a slot, every transaction once, and the state of a node that reads the chain anew."""
        assert all(len(digests) == 1 for digests in self.signed.values()), self.signed
        check_transactions(self.world, NAME)
        state = node.chronicle.rounds()[number]
        assert state.final is not None
        same_state(node, self.fresh(node))

    def fresh(self, node: Node) -> Node:
        """The same reader with an empty journal, straight at the chain; caught up."""
        path = self.world.folder / "fresh.sqlite"
        for file in path.parent.glob(f"{path.name}*"):
            file.unlink()
        made = Node(
            w3=self.chain.w3,
            deployment=node.deployment,
            contracts=Contracts.of(self.chain.w3, node.deployment),
            follower=Follower(self.chain.w3, node.deployment, FINALITY),
            journal=Journal(path),
            store=node.store,
            reader=node.reader,
        )
        assert discover.run(made)
        discover.learn_keys(made)
        return made


def same_state(node: Node, fresh: Node) -> None:
    """Both are at one block and say the same of everything that the chain says."""
    assert discover.run(node)
    discover.learn_keys(node)
    assert node.journal.mark() == fresh.journal.mark()
    assert node.journal.events() == fresh.journal.events()
    assert node.chronicle.rounds() == fresh.chronicle.rounds()
    assert node.chronicle.members() == fresh.chronicle.members()
    assert node.epoch_secrets == fresh.epoch_secrets
    fresh.journal.close()


def close(node: Node) -> None:
    """Let go of the home."""
    node.journal.close()
    if node.identity is not None:
        node.identity.protection.close()
