"""The compiled contracts that this version was built for, read from ``validator/chain/artifacts``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from validator.chain.errors import NotOurContracts

# The five of a DAO, in the order of deployment.
CONTRACTS = ("DataDAO", "ScoringRounds", "ContributionRegistry", "ValidatorSet", "RewardPool")
DEV_TOKEN = "DevToken"  # noqa: S105 - a contract's name

# PUSH1 .. PUSH32 carry 1 .. 32 bytes of data after the opcode.
_PUSH1, _PUSH32 = 0x60, 0x7F


@dataclass(frozen=True, slots=True)
class Artifact:
    """One contract: its ABI, creation code and deployed code (immutables zeroed, as the compiler prints it)."""

    name: str
    abi: tuple[dict[str, Any], ...]
    bytecode: bytes
    deployed_bytecode: bytes

    def matches(self, code: bytes) -> bool:
        """Whether ``code`` is this contract's, whatever its immutables: they are 32-byte pushes of zero in the
        artifact.

        The values of the immutables are not checked here but through their getters, by `deploy.load_deployment`.
        """
        if len(code) != len(self.deployed_bytecode):
            return False
        return _mask(code, self.deployed_bytecode) == self.deployed_bytecode


@cache
def load(name: str) -> Artifact:
    """The artifact of contract ``name``; NotOurContracts if this installation lacks it."""
    resource = files("validator.chain").joinpath("artifacts", f"{name}.json")
    if not resource.is_file():
        raise NotOurContracts(
            f"the artifact of contract {name} is missing: reinstall, or run ./scripts/build-contracts"
        )
    raw = json.loads(resource.read_text("utf-8"))
    return Artifact(
        name=name,
        abi=tuple(raw["abi"]),
        bytecode=bytes.fromhex(raw["bytecode"].removeprefix("0x")),
        deployed_bytecode=bytes.fromhex(raw["deployedBytecode"].removeprefix("0x")),
    )


def _mask(code: bytes, reference: bytes) -> bytes:
    """``code`` with zeros wherever ``reference`` pushes 32 zero bytes."""
    masked = bytearray(code)
    position = 0
    while position < len(reference):
        opcode = reference[position]
        width = opcode - _PUSH1 + 1 if _PUSH1 <= opcode <= _PUSH32 else 0
        operand = slice(position + 1, position + 1 + width)
        if opcode == _PUSH32 and not any(reference[operand]):
            masked[operand] = bytes(len(reference[operand]))
        position += 1 + width
    return bytes(masked)
