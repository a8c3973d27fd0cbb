"""Ethereum's JSON-RPC shapes of blocks, transactions, receipts and logs (execution-apis)."""

from __future__ import annotations

from typing import Any

from eth._utils.address import generate_contract_address
from eth.abc import SignedTransactionAPI
from eth_utils.address import to_checksum_address

from validator.chain.devchain.evm import MinedBlock

Json = dict[str, Any]


def quantity(value: int) -> str:
    """An integer on the wire: hex without leading zeros."""
    return hex(int(value))


def data(value: bytes) -> str:
    """Bytes on the wire: hex in full."""
    return "0x" + bytes(value).hex()


def block_json(block: MinedBlock, *, full: bool) -> Json:
    """A block; with whole transactions if ``full``, else with their hashes."""
    header: Any = block.header
    return {
        "number": quantity(block.number),
        "hash": data(block.hash),
        "parentHash": data(header.parent_hash),
        "nonce": data(header.nonce),
        "sha3Uncles": data(header.uncles_hash),
        "logsBloom": data(int(header.bloom).to_bytes(256, "big")),
        "transactionsRoot": data(header.transaction_root),
        "receiptsRoot": data(header.receipt_root),
        "stateRoot": data(header.state_root),
        "miner": to_checksum_address(header.coinbase),
        "difficulty": "0x0",
        "totalDifficulty": "0x0",
        "mixHash": data(header.mix_hash),
        "extraData": data(header.extra_data),
        "size": "0x0",
        "gasLimit": quantity(header.gas_limit),
        "gasUsed": quantity(header.gas_used),
        "timestamp": quantity(header.timestamp),
        "baseFeePerGas": quantity(header.base_fee_per_gas),
        "uncles": [],
        "transactions": [
            transaction_json(transaction, block, index) if full else data(transaction.hash)
            for index, transaction in enumerate(block.transactions)
        ],
    }


def transaction_json(transaction: SignedTransactionAPI, block: MinedBlock | None, index: int) -> Json:
    """A transaction; ``block`` is None while it waits in the mempool."""
    kind = int(getattr(transaction, "type_id", None) or 0)
    shape: Json = {
        "type": quantity(kind),
        "hash": data(transaction.hash),
        "nonce": quantity(transaction.nonce),
        "blockHash": data(block.hash) if block else None,
        "blockNumber": quantity(block.number) if block else None,
        "transactionIndex": quantity(index) if block else None,
        "from": to_checksum_address(transaction.sender),
        "to": to_checksum_address(transaction.to) if transaction.to else None,
        "value": quantity(transaction.value),
        "gas": quantity(transaction.gas),
        "input": data(transaction.data),
        "gasPrice": quantity(_gas_price(transaction, block)),
        "r": quantity(transaction.r),
        "s": quantity(transaction.s),
        "v": quantity(transaction.y_parity),
    }
    if kind >= 2:
        shape["maxFeePerGas"] = quantity(transaction.max_fee_per_gas)
        shape["maxPriorityFeePerGas"] = quantity(transaction.max_priority_fee_per_gas)
        shape["chainId"] = quantity(transaction.chain_id or 0)
        shape["accessList"] = []
        shape["yParity"] = shape["v"]
    return shape


def receipt_json(block: MinedBlock, index: int, logs: list[Json]) -> Json:
    """The receipt of transaction ``index`` of ``block``; ``logs`` are that transaction's, already in wire shape."""
    transaction, receipt = block.transactions[index], block.receipts[index]
    before = int(block.receipts[index - 1].gas_used) if index else 0
    created = None
    if not transaction.to:
        created = to_checksum_address(generate_contract_address(transaction.sender, transaction.nonce))
    return {
        "type": quantity(int(getattr(transaction, "type_id", None) or 0)),
        "transactionHash": data(transaction.hash),
        "transactionIndex": quantity(index),
        "blockHash": data(block.hash),
        "blockNumber": quantity(block.number),
        "from": to_checksum_address(transaction.sender),
        "to": to_checksum_address(transaction.to) if transaction.to else None,
        "contractAddress": created,
        "cumulativeGasUsed": quantity(receipt.gas_used),
        "gasUsed": quantity(int(receipt.gas_used) - before),
        "effectiveGasPrice": quantity(_gas_price(transaction, block)),
        "logs": logs,
        "logsBloom": data(int(receipt.bloom).to_bytes(256, "big")),
        "status": quantity(int.from_bytes(receipt.state_root, "big")),
    }


def logs_json(block: MinedBlock) -> list[list[Json]]:
    """The logs of ``block``, one list a transaction; ``logIndex`` counts through the block."""
    position = 0
    by_transaction: list[list[Json]] = []
    for index, (transaction, receipt) in enumerate(zip(block.transactions, block.receipts, strict=True)):
        logs: list[Json] = []
        for log in receipt.logs:
            logs.append(
                {
                    "address": to_checksum_address(log.address),
                    "topics": [data(int(topic).to_bytes(32, "big")) for topic in log.topics],
                    "data": data(log.data),
                    "blockNumber": quantity(block.number),
                    "blockHash": data(block.hash),
                    "transactionHash": data(transaction.hash),
                    "transactionIndex": quantity(index),
                    "logIndex": quantity(position),
                    "removed": False,
                }
            )
            position += 1
        by_transaction.append(logs)
    return by_transaction


def _gas_price(transaction: SignedTransactionAPI, block: MinedBlock | None) -> int:
    if block is None:
        return int(transaction.max_fee_per_gas)
    return min(int(transaction.max_fee_per_gas), block.base_fee + int(transaction.max_priority_fee_per_gas))
