"""Custom errors of the contracts as sentences: what was refused, and what the operator can do."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from eth_utils.crypto import keccak

from validator.chain.abi import plain, snake, type_of
from validator.chain.artifacts import CONTRACTS, DEV_TOKEN, load
from validator.chain.errors import Reverted
from validator.chain.remedies import REMEDIES
from validator.chain.types import Phase

ERROR_STRING = bytes.fromhex("08c379a0")  # Error(string)
PANIC = bytes.fromhex("4e487b71")  # Panic(uint256)

# Arguments that are Unix times.
TIMES = {"until", "deadline", "withdrawable_at"}
MOST_SECONDS = 1 << 36


def decode_revert(data: bytes, reason: str = "") -> Reverted:
    """The revert ``data`` of a call in words; ``reason`` is what the endpoint said, used when the data say nothing."""
    selector, body = data[:4], data[4:]
    try:
        if selector == ERROR_STRING:
            text = str(decode(["string"], body)[0])[:500]
            return Reverted("Error", {"message": text}, f"the contract refused: {text}", data)
        if selector == PANIC:
            code = int(decode(["uint256"], body)[0])
            return Reverted(
                "Panic", {"code": code}, f"the contract panicked with code {code:#04x}: please report this", data
            )
        if selector in _custom_errors():
            return _custom(_custom_errors()[selector], body, data)
    except (DecodingError, ValueError):  # ValueError: a phase that this version does not know
        return Reverted("", {}, f"the contract refused with data that cannot be read: 0x{data[:68].hex()}", data)
    if data:
        return Reverted("", {}, f"the contract refused with an unknown error 0x{selector.hex()}", data)
    return Reverted("", {}, f"the contract refused without a reason ({reason or 'no message'})", data)


def _custom(entry: Mapping[str, Any], body: bytes, data: bytes) -> Reverted:
    inputs = entry["inputs"]
    values = decode([type_of(part) for part in inputs], body)
    arguments = {snake(part["name"]): plain(value, part) for part, value in zip(inputs, values, strict=True)}
    shown = {name: _shown(name, value) for name, value in arguments.items()}
    name = str(entry["name"])
    detail = ", ".join(f"{key} {value}" for key, value in shown.items())
    told = f"{name}({detail})" if detail else name
    remedy = REMEDIES.get(name)
    sentence = f"{remedy.format(**shown)} [{told}]" if remedy else f"the contract refused: {told}"
    return Reverted(name, arguments, sentence, data)


def _shown(name: str, value: object) -> str:
    if isinstance(value, bytes):
        return f"0x{value.hex()}"
    if isinstance(value, Phase):
        return value.name.lower()
    # Beyond the range of dates the number itself must do.
    if name in TIMES and isinstance(value, int) and value < MOST_SECONDS:
        return f"{datetime.fromtimestamp(value, UTC):%Y-%m-%d %H:%M:%S} UTC"
    return str(value)


@cache
def _custom_errors() -> Mapping[bytes, Mapping[str, Any]]:
    table: dict[bytes, Mapping[str, Any]] = {}
    for name in (*CONTRACTS, DEV_TOKEN):
        for entry in load(name).abi:
            if entry["type"] == "error":
                signature = f"{entry['name']}({','.join(type_of(part) for part in entry['inputs'])})"
                table[keccak(text=signature)[:4]] = entry
    return table
