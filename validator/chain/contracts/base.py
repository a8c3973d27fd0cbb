"""What the wrappers share: encode, ask at a block, decode into this room's types."""

from __future__ import annotations

from functools import cache
from typing import Any, ClassVar, cast

from eth_utils.address import to_checksum_address
from web3 import Web3
from web3.contract import Contract as Web3Contract
from web3.types import BlockIdentifier

from validator.chain.abi import argument, plain
from validator.chain.artifacts import load
from validator.chain.rpc import understood
from validator.chain.types import BlockId, Call


class Contract:
    """One contract at one address. Reads are at ``block``: a height, a tag or a block hash.

    Every read may raise RpcFault (no usable answer) or Reverted (the contract refuses the question).
    """

    NAME: ClassVar[str]

    def __init__(self, w3: Web3, address: str) -> None:
        self.w3 = w3
        self.address = str(to_checksum_address(address))
        self._contract: Web3Contract = w3.eth.contract(address=to_checksum_address(address), abi=load(self.NAME).abi)

    def _read(self, function: str, *arguments: object, block: BlockId) -> Any:  # noqa: ANN401 - typed by each wrapper
        with understood(f"{self.NAME}.{function}"):
            bound = self._contract.functions[function](*map(argument, arguments))
            value = bound.call(block_identifier=cast(BlockIdentifier, block))
            outputs = outputs_of(self.NAME, function)
            if len(outputs) == 1:
                return plain(value, outputs[0])
            return tuple(plain(item, output) for item, output in zip(value, outputs, strict=True))

    def _call(self, function: str, *arguments: object, value: int = 0) -> Call:
        encoded = self._contract.encode_abi(function, [argument(item) for item in arguments])
        return Call(self.address, bytes.fromhex(encoded[2:]), value)


@cache
def outputs_of(contract: str, function: str) -> tuple[dict[str, Any], ...]:
    """What a function returns, by its ABI."""
    for entry in load(contract).abi:
        if entry["type"] == "function" and entry["name"] == function:
            return tuple(entry["outputs"])
    raise KeyError(f"{contract} has no function {function}")
