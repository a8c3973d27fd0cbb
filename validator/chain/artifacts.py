"""The compiled contracts that this version was built for, read from ``validator/chain/artifacts``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from eth_utils.crypto import keccak

from validator.chain.errors import NotOurContracts

# The five of a DAO, in the order of deployment.
CONTRACTS = ("DataDAO", "ScoringRounds", "ContributionRegistry", "ValidatorSet", "RewardPool")
DEV_TOKEN = "DevToken"  # noqa: S105 - a contract's name

_WORD = 32


@dataclass(frozen=True, slots=True)
class Artifact:
    """One contract: its ABI, creation code and deployed code (immutables zeroed, as the compiler prints it).

    ``immutables``: for each immutable the byte offsets into the deployed code of the 32-byte words that hold its value.
    """

    name: str
    abi: tuple[dict[str, Any], ...]
    bytecode: bytes
    deployed_bytecode: bytes
    immutables: tuple[tuple[int, ...], ...]

    @property
    def code_hash(self) -> bytes:
        """Keccak-256 of the deployed code, immutables zeroed: the same for every deployment of this version."""
        return bytes(keccak(self.deployed_bytecode))

    def matches(self, code: bytes) -> bool:
        """Whether ``code`` is this contract's, whatever the values of its immutables, if each has one value only.

        The values are not checked here but through their getters, by `deploy.load_deployment`: those getters are part
        of the code that is checked here.
        """
        if len(code) != len(self.deployed_bytecode):
            return False
        zeroed = bytearray(code)
        for places in self.immutables:
            if len({code[place : place + _WORD] for place in places}) != 1:
                return False
            for place in places:
                zeroed[place : place + _WORD] = bytes(_WORD)
        return bytes(keccak(bytes(zeroed))) == self.code_hash


@cache
def load(name: str) -> Artifact:
    """The artifact of contract ``name``; NotOurContracts if this installation lacks it."""
    resource = files("validator.chain").joinpath("artifacts", f"{name}.json")
    if not resource.is_file():
        raise NotOurContracts(
            f"the artifact of contract {name} is missing: reinstall, or run ./scripts/contracts build"
        )
    raw = json.loads(resource.read_text("utf-8"))
    return Artifact(
        name=name,
        abi=tuple(raw["abi"]),
        bytecode=bytes.fromhex(raw["bytecode"].removeprefix("0x")),
        deployed_bytecode=bytes.fromhex(raw["deployedBytecode"].removeprefix("0x")),
        immutables=tuple(tuple(places) for places in raw["immutables"]),
    )
