"""The embedded chain: py-evm (Prague) behind JSON-RPC on loopback, for tests, the demo and trying things out.

Each transaction is mined at once, and an empty block follows every ``block_seconds`` so that seeds, deadlines and
finality move on their own. ``finalized`` and ``safe`` are two blocks behind the head. Everything is in memory; the keys
are public. Never send real value to them.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from types import FrameType, TracebackType
from typing import Any, Self

from eth_account import Account
from eth_account.hdaccount.deterministic import HDPath
from eth_account.hdaccount.mnemonic import Mnemonic

from validator.chain.devchain.evm import Evm, MinedBlock
from validator.chain.devchain.methods import Methods
from validator.chain.devchain.server import Server

# The phrase that anvil and hardhat use too, so that wallets set up for them find the same accounts (m/44'/60'/0'/0/i).
MNEMONIC = "test test test test test test test test test test test junk"
CHAIN_ID = 31337
ACCOUNTS = 10
BALANCE = 1_000_000 * 10**18

__all__ = ["ACCOUNTS", "BALANCE", "CHAIN_ID", "MNEMONIC", "DevChain", "DevKey", "derive_keys", "serve"]


@dataclass(frozen=True, slots=True)
class DevKey:
    """A pre-funded account: checksummed address and the 32-byte secret. Public knowledge, as its source is."""

    address: str
    secret: bytes


@cache
def derive_keys(count: int = ACCOUNTS) -> tuple[DevKey, ...]:
    """The first ``count`` accounts of MNEMONIC."""
    seed = Mnemonic.to_seed(MNEMONIC)
    secrets = [HDPath(f"m/44'/60'/0'/0/{index}").derive(seed) for index in range(count)]
    return tuple(DevKey(str(Account.from_key(secret).address), bytes(secret)) for secret in secrets)


class DevChain:
    """A chain and its HTTP endpoint, for use inside a process: ``with DevChain() as chain: connect(chain.url)``.

    ``block_seconds`` is the time between empty blocks; 0 means none: blocks come from transactions and ``mine`` only.
    ``hold`` keeps transactions in the mempool until ``mine``. ``log_range`` and ``log_count`` limit eth_getLogs (in
    blocks and in logs), as public endpoints do. ``port`` 0 takes a free one.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        chain_id: int = CHAIN_ID,
        block_seconds: float = 0.5,
        accounts: int = ACCOUNTS,
        hold: bool = False,
        log_range: int | None = None,
        log_count: int | None = None,
    ) -> None:
        self.keys = derive_keys(accounts)
        self.chain_id = chain_id
        self.hold = hold
        self.block_seconds = block_seconds
        self._port = port
        self._offset = 0.0
        self._lock = threading.RLock()
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []
        self._server: Server | None = None
        balances = {bytes.fromhex(key.address[2:]): BALANCE for key in self.keys}
        self._evm = Evm(chain_id, balances, clock=lambda: time.time() + self._offset)
        self.methods = Methods(self._evm, self._after_submit, log_range=log_range, log_count=log_count)

    @property
    def url(self) -> str:
        """The endpoint; meaningful once started."""
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> Self:
        """Listen and begin to mine; OSError if the port is taken."""
        server = Server(self._port, self._answer)
        self._server, self._port = server, server.server_address[1]
        self._run(lambda: server.serve_forever(poll_interval=0.02))
        if self.block_seconds > 0:
            self._run(self._tick)
        return self

    def stop(self) -> None:
        """Stop mining and listening, and wait for both. Safe to call twice."""
        self._stopped.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.hang_up()
            self._server.server_close()
            self._server = None
        for thread in self._threads:
            thread.join(timeout=5.0)
        self._threads.clear()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # Steering, for tests

    def mine(self, blocks: int = 1, *, empty: bool = False) -> MinedBlock:
        """Mine ``blocks`` blocks now, with what the mempool holds unless ``empty``; returns the last."""
        with self._lock:
            for _ in range(blocks):
                self._evm.mine(empty=empty)
            return self._evm.head

    def advance(self, seconds: float) -> None:
        """Move the chain's clock ahead of the real one by ``seconds`` more, and mine an empty block at the new time."""
        with self._lock:
            self._offset += seconds
            self._evm.mine(empty=True)

    def reorganise(self, depth: int, *, requeue: bool = False) -> None:
        """Replace the last ``depth`` blocks by empty ones; their transactions return to the mempool if ``requeue``."""
        with self._lock:
            self.rewind(self._evm.head.number - depth, requeue=requeue)
            self.mine(depth, empty=True)

    def rewind(self, number: int, *, requeue: bool = False) -> None:
        """Drop every block above ``number``; their transactions return to the mempool if ``requeue``."""
        with self._lock:
            self._evm.rewind(number, requeue=requeue)
            self.methods.forget_above(number)

    def snapshot(self) -> tuple[MinedBlock, ...]:
        """The blocks as they are, for `restore`."""
        with self._lock:
            return tuple(self._evm.blocks)

    def restore(self, blocks: tuple[MinedBlock, ...]) -> None:
        """Go back to a snapshot of this chain, whatever happened since; the mempool is emptied."""
        with self._lock:
            self.rewind(0)
            self._evm.blocks.extend(blocks[1:])
            self._evm.pool.clear()

    def clear_mempool(self) -> None:
        """Drop every waiting transaction, as a mempool under pressure does."""
        with self._lock:
            self._evm.pool.clear()

    # Inside

    def _answer(self, method: str, params: list[Any]) -> object:
        with self._lock:
            return self.methods.answer(method, params)

    def _after_submit(self) -> None:
        if not self.hold:
            self._evm.mine()

    def _tick(self) -> None:
        while not self._stopped.wait(self.block_seconds):
            self.mine(empty=self.hold)

    def _run(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, name="devchain", daemon=True)
        thread.start()
        self._threads.append(thread)


def serve(
    port: int,
    *,
    chain_id: int = CHAIN_ID,
    block_seconds: float = 0.5,
    accounts: int = ACCOUNTS,
    ready: Callable[[DevChain], None] | None = None,
) -> None:
    """Run the chain here until SIGTERM or SIGINT; ``ready`` gets the listening chain (to print its URL and keys).

    Call from the main thread: signal handlers can be set only there. The handlers found are put back on return.
    """
    stop = threading.Event()

    def ask_to_stop(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, ask_to_stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with DevChain(port, chain_id=chain_id, block_seconds=block_seconds, accounts=accounts) as chain:
            if ready is not None:
                ready(chain)
            stop.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
