"""Logs of our contracts as events. What cannot be decoded is refused, never skipped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from validator.chain.abi import plain, type_of
from validator.chain.artifacts import load
from validator.chain.errors import RpcFault, UnknownEvent
from validator.chain.types import Deployment, Event

# Indexed values of these are stored as their hash only; none of our events does that.
_HASHED = ("string", "bytes", "tuple")


@dataclass(frozen=True, slots=True)
class _EventAbi:
    contract: str
    name: str
    indexed: tuple[Mapping[str, Any], ...]
    plain: tuple[Mapping[str, Any], ...]


class EventDecoder:
    """Decodes the logs of one deployment's five contracts."""

    topics: tuple[bytes, ...] | None = None
    """Every event is asked for: one that is not known must not be passed over."""

    def __init__(self, deployment: Deployment) -> None:
        self._names = {
            deployment.dao: "DataDAO",
            deployment.rounds: "ScoringRounds",
            deployment.registry: "ContributionRegistry",
            deployment.validators: "ValidatorSet",
            deployment.pool: "RewardPool",
        }

    @property
    def addresses(self) -> tuple[str, ...]:
        """The contracts whose logs are decoded."""
        return tuple(self._names)

    def knows(self, log: Mapping[str, Any]) -> bool:
        """Whether ``log`` (as web3 gives it) is of one of the contracts; a receipt also holds those of tokens."""
        return str(log["address"]) in self._names

    def decode(self, log: Mapping[str, Any]) -> Event:
        """One log in web3's shape. RpcFault if it is malformed or of another contract, UnknownEvent if
        this version does not know it."""
        contract = self._names.get(str(to_checksum_address(log["address"])))
        topics = [bytes(topic) for topic in log["topics"]]
        if contract is None:
            raise RpcFault(f"the endpoint sent a log of {log['address']}, which is none of this DAO's contracts")
        if log.get("removed"):
            raise RpcFault(f"the endpoint sent a log of block {log['blockNumber']} that it calls removed")
        entry = _events(contract).get(topics[0]) if topics else None
        if entry is None:
            raise UnknownEvent(
                f"block {log['blockNumber']}: {contract} emitted an event unknown to this version: upgrade"
            )
        return Event(
            block=int(log["blockNumber"]),
            block_hash=bytes(log["blockHash"]),
            log_index=int(log["logIndex"]),
            transaction_hash=bytes(log["transactionHash"]),
            contract=entry.contract,
            name=entry.name,
            args=_arguments(entry, topics[1:], bytes(log["data"])),
        )

    def decode_all(self, logs: Sequence[Mapping[str, Any]]) -> tuple[Event, ...]:
        """The events of our contracts among the ``logs`` of a receipt."""
        return tuple(self.decode(log) for log in logs if self.knows(log))


def _arguments(entry: _EventAbi, topics: Sequence[bytes], data: bytes) -> dict[str, Any]:
    if len(topics) != len(entry.indexed):
        raise RpcFault(f"a log of {entry.contract}.{entry.name} has {len(topics)} topics, not {len(entry.indexed)}")
    try:
        values = decode([type_of(part) for part in entry.plain], data)
        found = {part["name"]: plain(value, part) for part, value in zip(entry.plain, values, strict=True)}
        for part, topic in zip(entry.indexed, topics, strict=True):
            found[part["name"]] = plain(decode([type_of(part)], topic)[0], part)
    except (DecodingError, ValueError) as error:
        raise RpcFault(f"a log of {entry.contract}.{entry.name} cannot be decoded: {error}") from error
    return found


@cache
def _events(contract: str) -> Mapping[bytes, _EventAbi]:
    table: dict[bytes, _EventAbi] = {}
    for entry in load(contract).abi:
        if entry["type"] == "event":
            inputs = entry["inputs"]
            topic = keccak(text=f"{entry['name']}({','.join(type_of(part) for part in inputs)})")
            indexed = tuple(part for part in inputs if part["indexed"])
            if any(part["type"].startswith(_HASHED) and part["type"] != "bytes32" for part in indexed):
                raise UnknownEvent(f"{contract}.{entry['name']} indexes a value that only its hash would remain of")
            table[topic] = _EventAbi(contract, entry["name"], indexed, tuple(p for p in inputs if not p["indexed"]))
    return table
