"""The JSON-RPC methods of the embedded chain: what a wallet, a node and ethers.js ask, no more."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from eth_typing import Address

from validator.chain.devchain.evm import CallRequest, ChainRefusal, Evm, MinedBlock, Outcome
from validator.chain.devchain.wire import Json, block_json, data, logs_json, quantity, receipt_json, transaction_json

# Tags behind the head. Real chains lag by an epoch or two; two blocks keep the demo quick and the code path the same.
FINALITY_DEPTH = 2
PRIORITY_FEE = 1_000_000_000
CALL_CACHE = 4096

HANDLERS = {
    "web3_clientVersion": "_client_version",
    "net_version": "_version",
    "eth_chainId": "_chain_id",
    "eth_syncing": "_syncing",
    "eth_blockNumber": "_block_number",
    "eth_getBlockByNumber": "_get_block_by_number",
    "eth_getBlockByHash": "_get_block_by_hash",
    "eth_gasPrice": "_gas_price",
    "eth_maxPriorityFeePerGas": "_max_priority_fee_per_gas",
    "eth_feeHistory": "_fee_history",
    "eth_accounts": "_accounts",
    "eth_getBalance": "_get_balance",
    "eth_getCode": "_get_code",
    "eth_getStorageAt": "_get_storage_at",
    "eth_getTransactionCount": "_get_transaction_count",
    "eth_call": "_call",
    "eth_estimateGas": "_estimate_gas",
    "eth_sendRawTransaction": "_send_raw_transaction",
    "eth_getTransactionByHash": "_get_transaction_by_hash",
    "eth_getTransactionReceipt": "_get_transaction_receipt",
    "eth_getLogs": "_get_logs",
}

# Error codes of JSON-RPC 2.0 and of geth.
INVALID_PARAMS = -32602
METHOD_NOT_FOUND = -32601
SERVER_ERROR = -32000
LIMIT_EXCEEDED = -32005
REVERTED = 3


class RpcRefusal(Exception):
    """An error answer: ``code``, the message, and ``data`` for a revert."""

    def __init__(self, code: int, message: str, data: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.data = data


@dataclass(slots=True)
class Methods:
    """Dispatch over one Evm. ``after_submit`` runs when a transaction has entered the mempool: it mines, unless held.

    ``log_range`` and ``log_count`` are the limits of eth_getLogs (blocks, logs); None means none.
    """

    evm: Evm
    after_submit: Callable[[], None]
    log_range: int | None = None
    log_count: int | None = None
    client_version: str = "poc-devchain/1"
    _logs: list[list[list[Json]]] = field(default_factory=list)
    _mined: dict[bytes, tuple[int, int]] = field(default_factory=dict)
    _numbers: dict[bytes, int] = field(default_factory=dict)
    _calls: OrderedDict[tuple[bytes, CallRequest], Outcome] = field(default_factory=OrderedDict)

    def answer(self, method: str, params: list[Any]) -> object:
        """The result of ``method``; raises RpcRefusal with the error to send."""
        if method not in HANDLERS:
            raise RpcRefusal(METHOD_NOT_FOUND, f"the method {method} does not exist/is not available")
        self._index()
        try:
            answer: object = getattr(self, HANDLERS[method])(*params)
        except ChainRefusal as error:
            raise RpcRefusal(SERVER_ERROR, str(error)) from error
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise RpcRefusal(INVALID_PARAMS, f"invalid params for {method}: {error}") from error
        return answer

    def forget_above(self, number: int) -> None:
        """Drop the indices of blocks above ``number`` (the chain has been rewound)."""
        for block_number in range(number + 1, len(self._logs)):
            self._numbers = {hash_: at for hash_, at in self._numbers.items() if at != block_number}
        self._mined = {hash_: at for hash_, at in self._mined.items() if at[0] <= number}
        del self._logs[number + 1 :]

    def _index(self) -> None:
        for block in self.evm.blocks[len(self._logs) :]:
            self._logs.append(logs_json(block))
            self._numbers[block.hash] = block.number
            for index, transaction in enumerate(block.transactions):
                self._mined[bytes(transaction.hash)] = (block.number, index)

    # Chain

    def _client_version(self) -> str:
        return self.client_version

    def _version(self) -> str:
        return str(self.evm.chain_id)

    def _chain_id(self) -> str:
        return quantity(self.evm.chain_id)

    def _syncing(self) -> bool:
        return False

    def _block_number(self) -> str:
        return quantity(self.evm.head.number)

    def _get_block_by_number(self, tag: str, full: bool = False) -> Json | None:
        block = self._find(tag)
        return block_json(block, full=full) if block else None

    def _get_block_by_hash(self, block_hash: str, full: bool = False) -> Json | None:
        number = self._numbers.get(_bytes(block_hash, 32))
        return block_json(self.evm.blocks[number], full=full) if number is not None else None

    # Fees

    def _gas_price(self) -> str:
        return quantity(int(self.evm.head.base_fee) + PRIORITY_FEE)

    def _max_priority_fee_per_gas(self) -> str:
        return quantity(PRIORITY_FEE)

    def _fee_history(self, count: str | int, newest: str, percentiles: list[float] | None = None) -> Json:
        last = self._block(newest).number
        first = max(0, last - min(_integer(count), 1024) + 1)
        headers: list[Any] = [self.evm.blocks[number].header for number in range(first, last + 1)]
        fees = [quantity(header.base_fee_per_gas) for header in headers]
        answer: Json = {
            "oldestBlock": quantity(first),
            "baseFeePerGas": [*fees, fees[-1]],
            "gasUsedRatio": [header.gas_used / header.gas_limit for header in headers],
        }
        if percentiles:
            answer["reward"] = [[quantity(PRIORITY_FEE)] * len(percentiles) for _ in headers]
        return answer

    # Accounts

    def _accounts(self) -> list[str]:
        return []

    def _get_balance(self, address: str, tag: str = "latest") -> str:
        return quantity(self.evm.vm_at(self._block(tag)).state.get_balance(_address(address)))

    def _get_code(self, address: str, tag: str = "latest") -> str:
        return data(self.evm.vm_at(self._block(tag)).state.get_code(_address(address)))

    def _get_storage_at(self, address: str, slot: str, tag: str = "latest") -> str:
        value = self.evm.vm_at(self._block(tag)).state.get_storage(_address(address), _integer(slot))
        return data(int(value).to_bytes(32, "big"))

    def _get_transaction_count(self, address: str, tag: str = "latest") -> str:
        if tag == "pending":
            return quantity(self.evm.pending_nonce(_address(address)))
        return quantity(self.evm.vm_at(self._block(tag)).state.get_nonce(_address(address)))

    # Execution

    def _call(self, call: Mapping[str, Any], tag: str = "latest", _overrides: object = None) -> str:
        block, request = self._block(tag), _request(call)
        # Several nodes ask the same of the same finalised block: the answer is a function of both.
        key = (block.hash, request)
        outcome = self._calls.get(key)
        if outcome is None:
            outcome = self._calls[key] = self.evm.call(request, block)
            if len(self._calls) > CALL_CACHE:
                self._calls.popitem(last=False)
        _refuse_failure(outcome)
        return data(outcome.output)

    def _estimate_gas(self, call: Mapping[str, Any], tag: str = "latest") -> str:
        gas, outcome = self.evm.estimate(_request(call), self._block(tag))
        _refuse_failure(outcome)
        return quantity(gas)

    def _send_raw_transaction(self, raw: str) -> str:
        transaction = self.evm.submit(_bytes(raw))
        self.after_submit()
        return data(transaction.hash)

    # Transactions and logs

    def _get_transaction_by_hash(self, transaction_hash: str) -> Json | None:
        wanted = _bytes(transaction_hash, 32)
        if (found := self._mined.get(wanted)) is not None:
            block = self.evm.blocks[found[0]]
            return transaction_json(block.transactions[found[1]], block, found[1])
        for waiting in self.evm.pool.values():
            if waiting.hash == wanted:
                return transaction_json(waiting, None, 0)
        return None

    def _get_transaction_receipt(self, transaction_hash: str) -> Json | None:
        found = self._mined.get(_bytes(transaction_hash, 32))
        if found is None:
            return None
        number, index = found
        return receipt_json(self.evm.blocks[number], index, self._logs[number][index])

    def _get_logs(self, wanted: Mapping[str, Any]) -> list[Json]:
        first, last = self._log_bounds(wanted)
        if self.log_range is not None and last - first + 1 > self.log_range:
            raise RpcRefusal(LIMIT_EXCEEDED, f"query exceeds max block range {self.log_range}")
        addresses = _lowered(wanted.get("address"))
        topics = [_lowered(topic) for topic in wanted.get("topics") or ()]
        found: list[Json] = []
        for by_transaction in self._logs[first : last + 1]:
            for logs in by_transaction:
                found.extend(log for log in logs if _matches(log, addresses, topics))
        if self.log_count is not None and len(found) > self.log_count:
            raise RpcRefusal(LIMIT_EXCEEDED, f"query returned more than {self.log_count} results")
        return found

    def _log_bounds(self, wanted: Mapping[str, Any]) -> tuple[int, int]:
        if "blockHash" in wanted:
            number = self._numbers.get(_bytes(wanted["blockHash"], 32))
            if number is None:
                raise RpcRefusal(SERVER_ERROR, "unknown block")
            return number, number
        first = self._block(wanted.get("fromBlock", "latest")).number
        last_tag = wanted.get("toBlock", "latest")
        # Like geth, a range may reach beyond the head; it then simply ends there.
        last = self._find(last_tag) or self.evm.head
        return first, last.number

    # Blocks by tag

    def _find(self, tag: object) -> MinedBlock | None:
        head = self.evm.head.number
        if isinstance(tag, Mapping):  # EIP-1898
            number = tag.get("blockNumber")
            tag = number if number is not None else self._numbers[_bytes(tag["blockHash"], 32)]
        named = {"latest": head, "pending": head, "earliest": 0}
        named["safe"] = named["finalized"] = max(0, head - FINALITY_DEPTH)
        number = named[tag] if isinstance(tag, str) and tag in named else _integer(tag)
        return self.evm.blocks[number] if 0 <= number <= head else None

    def _block(self, tag: object) -> MinedBlock:
        block = self._find(tag)
        if block is None:
            raise RpcRefusal(SERVER_ERROR, "header not found")
        return block


def _refuse_failure(outcome: Outcome) -> None:
    if outcome.error == "execution reverted":
        raise RpcRefusal(REVERTED, "execution reverted", data(outcome.output))
    if outcome.error is not None:
        raise RpcRefusal(SERVER_ERROR, outcome.error)


def _request(call: Mapping[str, Any]) -> CallRequest:
    payload = call.get("input") or call.get("data") or "0x"
    return CallRequest(
        sender=_address(call["from"]) if call.get("from") else b"\0" * 20,
        to=_address(call["to"]) if call.get("to") else None,
        data=_bytes(payload),
        value=_integer(call.get("value", 0)),
        gas=_integer(call["gas"]) if call.get("gas") else None,
    )


def _integer(value: object) -> int:
    return value if isinstance(value, int) else int(str(value), 16)


def _bytes(value: str, size: int | None = None) -> bytes:
    if not value.startswith("0x"):
        raise ValueError(f"hex data must begin with 0x, not {value[:8]!r}")
    raw = bytes.fromhex(value[2:])
    if size is not None and len(raw) != size:
        raise ValueError(f"expected {size} bytes, got {len(raw)}")
    return raw


def _address(value: str) -> Address:
    return Address(_bytes(value, 20))


def _lowered(value: object) -> set[str] | None:
    if value is None:
        return None
    return {str(item).lower() for item in (value if isinstance(value, list) else [value])}


def _matches(log: Json, addresses: set[str] | None, topics: list[set[str] | None]) -> bool:
    if addresses is not None and log["address"].lower() not in addresses:
        return False
    held = log["topics"]
    if len(held) < len(topics):
        return False
    return all(options is None or held[index] in options for index, options in enumerate(topics))
