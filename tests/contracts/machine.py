"""The compiled contracts on a bare EVM: no blocks, no fees, no HTTP, so that thousands of calls take seconds.

The machine is py-evm's under the rules of Prague. Time and block number are what the caller says. `call` runs a message
as a contract call would; `transact` runs a whole transaction and tells what it cost, and for what.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

from eth.abc import ComputationAPI
from eth.chains.base import MiningChain
from eth.constants import ZERO_ADDRESS
from eth.db import get_db_backend
from eth.vm.execution_context import ExecutionContext
from eth.vm.forks.prague import PragueVM
from eth.vm.gas_meter import GasMeter
from eth.vm.message import Message
from eth.vm.spoof import SpoofTransaction
from eth_abi.abi import decode, encode
from eth_typing import Address
from eth_utils.crypto import keccak
from web3.utils.address import get_create_address

from validator.chain.abi import argument, plain, type_of
from validator.chain.artifacts import load

CHAIN_ID = 1337
GAS = 30_000_000
COIN = 10**18


class Refused(Exception):
    """A call that reverted, by the name of its error: `Panic` and `Error` are Solidity's own."""

    def __init__(self, name: str, values: tuple[Any, ...]) -> None:
        super().__init__(f"{name}{values}")
        self.name = name
        self.values = values


def seed_hash(number: int) -> bytes:
    """The hash of block ``number`` on this machine."""
    return keccak(b"block" + number.to_bytes(8, "big"))


class Machine:
    """One state, changed by every call that succeeds. Accounts have all the coin they need."""

    def __init__(self, now: int = 1_800_000_000) -> None:
        genesis: Any = {
            "coinbase": ZERO_ADDRESS,
            "difficulty": 0,
            "extra_data": b"",
            "gas_limit": GAS,
            "mix_hash": bytes(32),
            "nonce": bytes(8),
            "timestamp": 0,
        }
        configured = MiningChain.configure(
            __name__="Machine", vm_configuration=((0, PragueVM),), chain_id=CHAIN_ID
        ).from_genesis(get_db_backend(), genesis, {})
        self._vm: Any = configured.get_vm()
        self.state: Any = self._vm.state
        self.now, self.block = now, 1000

    # Accounts

    def rich(self, address: str) -> str:
        """Gives an account a million coin."""
        self.state.set_balance(_canonical(address), 10**6 * COIN)
        return address

    def balance(self, address: str) -> int:
        """Wei."""
        return int(self.state.get_balance(_canonical(address)))

    # Time travel

    def save(self) -> tuple[Any, int, int]:
        """The state as it is."""
        return self.state.snapshot(), self.now, self.block

    def restore(self, saved: tuple[Any, int, int]) -> None:
        """Back to a state, which is used up by that."""
        snapshot, self.now, self.block = saved
        self.state.revert(snapshot)

    # Contracts

    def create(self, name: str, sender: str, *arguments: object) -> Contract:
        """Deploys an artifact."""
        artifact = load(name)
        inputs = next((e["inputs"] for e in artifact.abi if e["type"] == "constructor"), [])
        code = artifact.bytecode + _encoded(inputs, arguments)
        nonce = int(self.state.get_nonce(_canonical(sender)))
        address = str(get_create_address(sender, nonce))
        self.state.increment_nonce(_canonical(sender))
        self._run(sender, b"", b"", 0, code, _canonical(address))
        return Contract(self, name, address)

    def message(self, sender: str, to: str, data: bytes, value: int = 0) -> ComputationAPI:
        """Runs a message and keeps what it changed, unless it failed."""
        return self._run(sender, _canonical(to), data, value, self.state.get_code(_canonical(to)), None)

    def _run(
        self, sender: str, to: bytes, data: bytes, value: int, code: bytes, create: Address | None
    ) -> ComputationAPI:
        self._tell_time()
        message = Message(
            gas=GAS,
            to=Address(to),
            sender=_canonical(sender),
            value=value,
            data=data,
            code=code,
            create_address=create,  # type: ignore[arg-type]
        )
        context = self.state.get_transaction_context_class()(gas_price=0, origin=_canonical(sender))
        kind = self.state.computation_class
        apply = kind.apply_message if create is None else kind.apply_create_message
        computation: ComputationAPI = apply(self.state, message, context)
        if computation.is_error:
            raise _refusal(bytes(computation.output), computation.error)
        return computation

    def transact(self, sender: str, to: str, data: bytes, value: int = 0) -> tuple[int, Counter[str]]:
        """Runs a transaction of its own, cold slots and calldata and all: gas used, and by what."""
        self._tell_time()
        self.state.lock_changes()
        unsigned = self._vm.get_transaction_builder().new_unsigned_dynamic_fee_transaction(
            chain_id=CHAIN_ID,
            nonce=self.state.get_nonce(_canonical(sender)),
            max_priority_fee_per_gas=0,
            max_fee_per_gas=0,
            gas=GAS,
            to=_canonical(to),
            value=value,
            data=data,
            access_list=(),
        )
        spoofed: Any = SpoofTransaction(unsigned, from_=_canonical(sender))
        with _metered() as spent:
            computation = self.state.apply_transaction(spoofed)
        if computation.is_error:
            raise _refusal(bytes(computation.output), computation.error)
        used = GAS - int(computation.get_gas_remaining())
        spent["intrinsic: transaction"] = 21_000
        spent["intrinsic: calldata"] = int(spoofed.intrinsic_gas) - 21_000
        return used, spent

    def _tell_time(self) -> None:
        recent = (seed_hash(number) for number in range(self.block - 1, max(0, self.block - 257), -1))
        self.state.execution_context = ExecutionContext(
            coinbase=ZERO_ADDRESS,
            timestamp=self.now,
            block_number=self.block,  # type: ignore[arg-type]
            difficulty=0,
            mix_hash=bytes(32),  # type: ignore[arg-type]
            gas_limit=GAS,
            prev_hashes=recent,  # type: ignore[arg-type]
            chain_id=CHAIN_ID,
            base_fee_per_gas=0,
            excess_blob_gas=0,
        )


@dataclass(frozen=True)
class Contract:
    """A deployed artifact: `contract.call("fund", sender, 5)`, `contract.read("available")`."""

    machine: Machine
    name: str
    address: str

    def data(self, function: str, *arguments: object) -> bytes:
        """The calldata of a call."""
        entry = _functions(self.name)[function]
        signature = f"{function}({','.join(type_of(i) for i in entry['inputs'])})"
        return keccak(text=signature)[:4] + _encoded(entry["inputs"], arguments)

    def call(self, function: str, sender: str, *arguments: object, value: int = 0) -> Any:
        """Calls as ``sender``; Refused if it reverts, and then nothing has changed."""
        computation = self.machine.message(sender, self.address, self.data(function, *arguments), value)
        outputs = _functions(self.name)[function]["outputs"]
        values = decode([type_of(o) for o in outputs], bytes(computation.output))
        plainly = tuple(plain(value, output) for value, output in zip(values, outputs, strict=True))
        return plainly[0] if len(plainly) == 1 else plainly

    def read(self, function: str, *arguments: object) -> Any:
        """Calls a view."""
        return self.call(function, ZERO, *arguments)


ZERO = "0x" + "00" * 20


@cache
def _functions(name: str) -> dict[str, dict[str, Any]]:
    return {entry["name"]: entry for entry in load(name).abi if entry["type"] == "function"}


def _encoded(inputs: list[dict[str, Any]], arguments: tuple[object, ...]) -> bytes:
    return encode([type_of(i) for i in inputs], [argument(a) for a in arguments])


def _canonical(address: str) -> Address:
    return Address(bytes.fromhex(address.removeprefix("0x")))


def _errors() -> Mapping[bytes, tuple[str, list[str]]]:
    names = ("DataDAO", "ScoringRounds", "ContributionRegistry", "ValidatorSet", "RewardPool", "DevToken")
    entries = [e for name in names for e in load(name).abi if e["type"] == "error"]
    entries += [{"name": "Error", "inputs": [{"type": "string"}]}, {"name": "Panic", "inputs": [{"type": "uint256"}]}]
    kinds = [(e["name"], [type_of(i) for i in e["inputs"]]) for e in entries]
    return {keccak(text=f"{name}({','.join(types)})")[:4]: (name, types) for name, types in kinds}


_ERRORS = _errors()


def _refusal(output: bytes, error: object) -> Refused:
    found = _ERRORS.get(output[:4])
    if found is None:
        return Refused(f"{type(error).__name__}: {error}", ())
    return Refused(found[0], tuple(decode(found[1], output[4:])))


@contextmanager
def _metered() -> Iterator[Counter[str]]:
    """Counts what gas is taken for while a transaction runs, by opcode. A call counts what it hands on, too."""
    spent: Counter[str] = Counter()
    original = GasMeter.consume_gas

    def consume(meter: GasMeter, amount: int, reason: str) -> None:
        spent[reason.split(":")[0].split(" ")[0]] += amount
        original(meter, amount, reason)

    GasMeter.consume_gas = consume  # type: ignore[method-assign]
    try:
        yield spent
    finally:
        GasMeter.consume_gas = original  # type: ignore[method-assign]
