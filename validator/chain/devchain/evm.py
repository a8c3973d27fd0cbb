"""One block after another on py-evm: execution, mempool, mining and reorganisation, all in memory.

Not a node: no peers, no consensus, no disk. The rules of execution (Prague) are py-evm's; what is ours is when a block
is mined and what a mempool accepts. Block times are wall-clock seconds and never decrease, but several blocks may carry
the same second, as on most rollups: a burst of transactions would otherwise push the chain's clock ahead of the real
one, and every deadline of a round with it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import rlp  # type: ignore[import-untyped]
from eth.abc import BlockHeaderAPI, ComputationAPI, ReceiptAPI, SignedTransactionAPI, VirtualMachineAPI
from eth.chains.base import MiningChain
from eth.constants import POST_MERGE_DIFFICULTY, POST_MERGE_MIX_HASH, POST_MERGE_NONCE, ZERO_ADDRESS
from eth.db import get_db_backend
from eth.exceptions import InsufficientFunds, VMError
from eth.vm.forks.prague import PragueVM
from eth.vm.message import Message
from eth.vm.spoof import SpoofTransaction
from eth_keys.exceptions import BadSignature
from eth_typing import Address
from eth_utils.exceptions import ValidationError
from rlp.exceptions import RLPException  # type: ignore[import-untyped]

from validator.errors import ValidatorError

GAS_LIMIT = 30_000_000
# What geth asks of a replacement: both fees ten per cent above the transaction it replaces.
REPLACEMENT_PERCENT = 110
MEMPOOL_LIMIT = 4096


class ChainRefusal(ValidatorError):
    """A transaction that a mempool does not take, in the words that geth uses (clients match on them)."""


class DevVM(PragueVM):
    """Prague, with blocks of one and the same second allowed (see the module's docstring)."""

    @classmethod
    def validate_header(cls, header: BlockHeaderAPI, parent_header: BlockHeaderAPI) -> None:
        """Every check of py-evm; only the one for a strictly later time is satisfied by an equal one."""
        if header.timestamp == parent_header.timestamp:
            header = header.copy(timestamp=parent_header.timestamp + 1)
        super().validate_header(header, parent_header)


@dataclass(frozen=True, slots=True)
class MinedBlock:
    """A block with what its execution left behind; ``receipts[i]`` belongs to ``transactions[i]``."""

    header: BlockHeaderAPI
    transactions: tuple[SignedTransactionAPI, ...] = ()
    receipts: tuple[ReceiptAPI, ...] = ()

    @property
    def number(self) -> int:
        """Height; genesis is 0."""
        return int(self.header.block_number)

    @property
    def hash(self) -> bytes:
        """Keccak-256 of the header."""
        return bytes(self.header.hash)

    @property
    def base_fee(self) -> int:
        """Wei per gas (EIP-1559)."""
        return int(self.header.base_fee_per_gas or 0)


@dataclass(frozen=True, slots=True)
class CallRequest:
    """What ``eth_call`` and ``eth_estimateGas`` run; ``to`` None creates, ``gas`` None means the block's limit."""

    sender: bytes
    to: bytes | None
    data: bytes
    value: int = 0
    gas: int | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a simulated message: ``output`` holds the revert data when ``error`` is not None."""

    output: bytes
    error: str | None


@dataclass(slots=True)
class Evm:
    """The chain. Not thread-safe: the caller holds one lock around every method.

    ``balances`` maps 20-byte addresses to wei at genesis; ``clock`` gives seconds since the epoch.
    """

    chain_id: int
    balances: dict[bytes, int]
    clock: Callable[[], float] = time.time
    blocks: list[MinedBlock] = field(default_factory=list)
    pool: dict[tuple[bytes, int], SignedTransactionAPI] = field(default_factory=dict)
    _chain: Any = None

    def __post_init__(self) -> None:
        chain_class = MiningChain.configure(__name__="DevChain", vm_configuration=((0, DevVM),), chain_id=self.chain_id)
        state: Any = {
            address: {"balance": wei, "nonce": 0, "code": b"", "storage": {}} for address, wei in self.balances.items()
        }
        genesis: Any = {
            "coinbase": ZERO_ADDRESS,
            "difficulty": POST_MERGE_DIFFICULTY,
            "extra_data": b"",
            "gas_limit": GAS_LIMIT,
            "mix_hash": POST_MERGE_MIX_HASH,
            "nonce": POST_MERGE_NONCE,
            "timestamp": int(self.clock()),
        }
        self._chain = chain_class.from_genesis(get_db_backend(), genesis, state)
        self.blocks.append(MinedBlock(self._chain.chaindb.get_canonical_head()))

    @property
    def head(self) -> MinedBlock:
        """The newest block."""
        return self.blocks[-1]

    # State

    def vm_at(self, block: MinedBlock) -> VirtualMachineAPI:
        """A machine over the state that ``block`` left, in that block's own context, as ``eth_call`` has it."""
        vm: VirtualMachineAPI = self._chain.get_vm(block.header)
        return vm

    def call(self, message: CallRequest, block: MinedBlock) -> Outcome:
        """Run ``message`` on the state of ``block`` for free and forget it."""
        state = self.vm_at(block).state
        creating = message.to is None
        target = message.to or b""
        evm_message = Message(
            gas=message.gas or GAS_LIMIT,
            to=Address(target),
            sender=Address(message.sender),
            value=message.value,
            data=b"" if creating else message.data,
            code=message.data if creating else state.get_code(Address(target)),
            create_address=Address(b"\xff" * 20) if creating else None,  # type: ignore[arg-type]
        )
        context = state.get_transaction_context_class()(gas_price=0, origin=Address(message.sender))
        apply = state.computation_class.apply_create_message if creating else state.computation_class.apply_message
        try:
            computation = apply(state, evm_message, context)
        except InsufficientFunds:
            return Outcome(b"", "insufficient funds for transfer")
        return Outcome(bytes(computation.output), _error_of(computation))

    def estimate(self, message: CallRequest, block: MinedBlock) -> tuple[int, Outcome]:
        """The least gas found that makes ``message`` succeed, or 0 and the outcome that says why it never does."""
        ceiling = message.gas or GAS_LIMIT
        outcome, used = self._try_with(message, block, ceiling)
        if outcome.error is not None:
            return 0, outcome
        # A call hands on at most 63/64 of its gas, so now and then a little more is needed than is used.
        for limit in (used, used * 64 // 63 + 2_300):
            if limit < ceiling and self._try_with(message, block, limit)[0].error is None:
                return limit, outcome
        low, high = used, ceiling
        while high - low > 1_000:
            middle = (low + high) // 2
            if self._try_with(message, block, middle)[0].error is None:
                high = middle
            else:
                low = middle
        return high, outcome

    def _try_with(self, message: CallRequest, block: MinedBlock, gas: int) -> tuple[Outcome, int]:
        # Without a base fee, as geth estimates: whether the sender can pay is the mempool's question.
        vm = self._chain.get_vm(block.header.copy(base_fee_per_gas=0))
        unsigned = vm.get_transaction_builder().new_unsigned_dynamic_fee_transaction(
            chain_id=self.chain_id,
            nonce=vm.state.get_nonce(Address(message.sender)),
            max_priority_fee_per_gas=0,
            max_fee_per_gas=0,
            gas=gas,
            to=message.to or b"",
            value=message.value,
            data=message.data,
            access_list=(),
        )
        spoofed: Any = SpoofTransaction(unsigned, from_=Address(message.sender))
        try:
            computation = vm.state.apply_transaction(spoofed)
        except (ValidationError, VMError) as error:
            return Outcome(b"", str(error)), 0
        used = gas - int(computation.get_gas_remaining()) + int(getattr(computation, "data_floor_gas", 0) or 0)
        return Outcome(bytes(computation.output), _error_of(computation)), used

    # Mempool

    def submit(self, raw: bytes) -> SignedTransactionAPI:
        """Check ``raw`` as a mempool does and queue it; mining is the caller's step.

        Raises ChainRefusal in geth's words: nonce too low, already known, replacement transaction underpriced,
        insufficient funds.
        """
        transaction = self._decode(raw)
        sender = bytes(transaction.sender)
        state = self.vm_at(self.head).state
        if transaction.chain_id != self.chain_id:
            raise ChainRefusal(
                f"invalid chain id: the transaction is for {transaction.chain_id}, this is {self.chain_id}"
            )
        if transaction.nonce < state.get_nonce(Address(sender)):
            raise ChainRefusal(
                f"nonce too low: next nonce {state.get_nonce(Address(sender))}, tx nonce {transaction.nonce}"
            )
        if transaction.gas > GAS_LIMIT:
            raise ChainRefusal("exceeds block gas limit")
        if transaction.gas < transaction.intrinsic_gas:
            raise ChainRefusal("intrinsic gas too low")
        cost = transaction.gas * transaction.max_fee_per_gas + transaction.value
        if cost > state.get_balance(Address(sender)):
            raise ChainRefusal("insufficient funds for gas * price + value")
        self._queue(sender, transaction)
        return transaction

    def _decode(self, raw: bytes) -> SignedTransactionAPI:
        try:
            transaction: SignedTransactionAPI = self.vm_at(self.head).get_transaction_builder().decode(raw)
            transaction.validate()
            _ = transaction.sender  # recovered once, then cached; raises for a signature of nobody
        except (RLPException, ValidationError, BadSignature, ValueError, TypeError, IndexError) as error:
            raise ChainRefusal(f"invalid transaction: {error}") from error
        return transaction

    def _queue(self, sender: bytes, transaction: SignedTransactionAPI) -> None:
        present = self.pool.get((sender, transaction.nonce))
        if present is not None:
            if present.hash == transaction.hash:
                raise ChainRefusal("already known")
            for fee in ("max_fee_per_gas", "max_priority_fee_per_gas"):
                if getattr(transaction, fee) * 100 < getattr(present, fee) * REPLACEMENT_PERCENT:
                    raise ChainRefusal("replacement transaction underpriced")
        elif len(self.pool) >= MEMPOOL_LIMIT:
            raise ChainRefusal("txpool is full")
        self.pool[(sender, transaction.nonce)] = transaction

    def pending_nonce(self, address: bytes) -> int:
        """The first nonce of ``address`` that neither the head nor the unbroken queue behind it uses."""
        nonce = int(self.vm_at(self.head).state.get_nonce(Address(address)))
        while (address, nonce) in self.pool:
            nonce += 1
        return nonce

    def executable(self, base_fee: int) -> list[SignedTransactionAPI]:
        """Queued transactions that a block at ``base_fee`` (wei per gas) takes now, nonces in order."""
        state = self.vm_at(self.head).state
        chosen: list[SignedTransactionAPI] = []
        gas = 0
        for sender in {sender for sender, _ in self.pool}:
            nonce = int(state.get_nonce(Address(sender)))
            while (found := self.pool.get((sender, nonce))) is not None and found.max_fee_per_gas >= base_fee:
                if gas + found.gas > GAS_LIMIT:
                    return chosen
                chosen.append(found)
                gas += found.gas
                nonce += 1
        return chosen

    # Blocks

    def mine(self, *, empty: bool = False) -> MinedBlock:
        """Mine one block with everything executable in the mempool (nothing, if ``empty``) and return it."""
        parent = self.head.header
        header = self._chain.create_header_from_parent(
            parent,
            timestamp=max(int(parent.timestamp), int(self.clock())),
            gas_limit=GAS_LIMIT,
            # prevrandao; also what makes the blocks of a fork differ from the ones that they replace.
            mix_hash=os.urandom(32),
        )
        chosen: Sequence[SignedTransactionAPI] = () if empty else self.executable(int(header.base_fee_per_gas or 0))
        vm = self._chain.get_vm(header)
        filled, receipts, _ = vm.apply_all_transactions(chosen, header)
        block = vm.set_block_transactions_and_withdrawals(vm.get_block(), filled, chosen, receipts)
        mined = MinedBlock(vm.mine_block(block).block.header, tuple(chosen), tuple(receipts))
        # Enough for BLOCKHASH to walk back; the canonical chain is ``self.blocks``, not py-evm's own index.
        self._chain.chaindb.db.set(mined.hash, rlp.encode(mined.header))
        self.blocks.append(mined)
        self._forget(mined.transactions)
        return mined

    def _forget(self, transactions: Iterable[SignedTransactionAPI]) -> None:
        for transaction in transactions:
            self.pool.pop((bytes(transaction.sender), transaction.nonce), None)

    def rewind(self, number: int, *, requeue: bool = True) -> None:
        """Drop every block above ``number``; their transactions return to the mempool unless ``requeue`` is False."""
        dropped = self.blocks[number + 1 :]
        del self.blocks[number + 1 :]
        if requeue:
            for block in dropped:
                for transaction in block.transactions:
                    self.pool.setdefault((bytes(transaction.sender), transaction.nonce), transaction)


def _error_of(computation: ComputationAPI) -> str | None:
    if not computation.is_error:
        return None
    error = computation.error
    return "execution reverted" if type(error).__name__ == "Revert" else f"{type(error).__name__}: {error}"
