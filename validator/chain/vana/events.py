"""Logs of Vana's contracts as events: the seven that the adapter reads. All others are not asked for.

An event that was renamed or changed has another topic and would simply not arrive. So ids, which count without gaps,
are held against the contracts' own counts (`validator.stages.vana.discover`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from validator.chain.errors import RpcFault
from validator.chain.types import Event
from validator.chain.vana.errors import NotVana
from validator.chain.vana.types import Place, text

_Inputs = tuple[tuple[str, str, bool], ...]
"""(name, type, indexed)."""

FILE_ADDED_V2: _Inputs = (
    ("fileId", "uint256", True),
    ("ownerAddress", "address", True),
    ("url", "string", False),
    ("schemaId", "uint256", False),
)
REGISTRY: Mapping[str, _Inputs] = {
    "FileAdded": FILE_ADDED_V2[:3],
    "FileAddedV2": FILE_ADDED_V2,
    "PermissionGranted": (("fileId", "uint256", True), ("account", "address", True)),
}
TEE_POOL: Mapping[str, _Inputs] = {
    "JobSubmitted": (
        ("jobId", "uint256", True),
        ("fileId", "uint256", True),
        ("teeAddress", "address", False),
        ("bidAmount", "uint256", False),
    ),
    "JobCanceled": (("jobId", "uint256", True),),
    "ProofAdded": (("attestator", "address", True), ("jobId", "uint256", True), ("fileId", "uint256", True)),
}


def topic_of(name: str, inputs: _Inputs) -> bytes:
    """The first topic of an event, 32 bytes."""
    return keccak(text=f"{name}({','.join(kind for _, kind, _ in inputs)})")


class VanaEvents:
    """Decodes them for one place."""

    def __init__(self, place: Place) -> None:
        self._tables = {
            place.registry: {topic_of(name, inputs): (name, inputs) for name, inputs in REGISTRY.items()},
            place.tee_pool: {topic_of(name, inputs): (name, inputs) for name, inputs in TEE_POOL.items()},
        }
        self._names = {place.registry: "DataRegistry", place.tee_pool: "TeePool"}

    @property
    def addresses(self) -> tuple[str, ...]:
        """Registry and pool."""
        return tuple(self._tables)

    @property
    def topics(self) -> tuple[bytes, ...] | None:
        """The first topics."""
        return tuple(topic for table in self._tables.values() for topic in table)

    def decode(self, log: Mapping[str, Any]) -> Event:
        """One log in web3's shape. Raises RpcFault if it was not asked for, NotVana for one of another layout."""
        address = str(to_checksum_address(log["address"]))
        topics = [bytes(topic) for topic in log["topics"]]
        known = self._tables.get(address, {}).get(topics[0] if topics else b"")
        if known is None or log.get("removed"):
            raise RpcFault(f"the endpoint sent a log of {address} that was not asked for")
        name, inputs = known
        return Event(
            block=int(log["blockNumber"]),
            block_hash=bytes(log["blockHash"]),
            log_index=int(log["logIndex"]),
            transaction_hash=bytes(log["transactionHash"]),
            contract=self._names[address],
            name=name,
            args=_arguments(name, inputs, topics[1:], bytes(log["data"])),
        )


def _arguments(name: str, inputs: _Inputs, topics: list[bytes], data: bytes) -> dict[str, Any]:
    indexed = [(label, kind) for label, kind, is_indexed in inputs if is_indexed]
    plain = [(label, kind) for label, kind, is_indexed in inputs if not is_indexed]
    if len(indexed) != len(topics):
        raise NotVana(f"a log of {name} has {len(topics)} indexed values, not {len(indexed)}: the contract has changed")
    try:
        values = decode([kind.replace("string", "bytes") for _, kind in plain], data)
        found = {label: _plain(value, kind) for (label, kind), value in zip(plain, values, strict=True)}
        for (label, kind), topic in zip(indexed, topics, strict=True):
            found[label] = _plain(decode([kind], topic)[0], kind)
    except (DecodingError, ValueError, OverflowError) as error:
        raise NotVana(f"a log of {name} cannot be decoded ({error}): the contract has changed") from None
    return found


def _plain(value: Any, kind: str) -> Any:  # noqa: ANN401 - an ABI value
    if kind == "string":
        return text(value)
    return str(to_checksum_address(value)) if kind == "address" else value
