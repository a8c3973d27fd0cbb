"""The wrappers, held against the ABIs."""

from __future__ import annotations

import inspect
from typing import get_type_hints

import pytest

from validator.chain.abi import snake
from validator.chain.artifacts import load
from validator.chain.contracts import ContributionRegistry, DataDAO, RewardPool, ScoringRounds, Token, ValidatorSet
from validator.chain.contracts.base import Contract
from validator.chain.types import Call

WRAPPERS = [DataDAO, ScoringRounds, ContributionRegistry, ValidatorSet, RewardPool, Token]
# Called by other contracts only, or of no use to a node.
NOT_WRAPPED = {
    ("RewardPool", "finalise"),
    ("ContributionRegistry", "settle"),
    ("ValidatorSet", "slash"),
    ("DataDAO", "renounceOwnership"),
    ("DevToken", "transferFrom"),
}
EVERYWHERE = {"eip712Domain", "domainSeparator"}
RENAMED = {("ValidatorSet", "validators"): "validator"}

FUNCTIONS = [
    (wrapper, entry)
    for wrapper in WRAPPERS
    for entry in load(wrapper.NAME).abi
    if entry["type"] == "function"
    and (wrapper.NAME, entry["name"]) not in NOT_WRAPPED
    and not (entry["name"] in EVERYWHERE and wrapper is not ScoringRounds)
    and entry["name"] != "eip712Domain"
    and not entry["name"].isupper()  # constants
]


@pytest.mark.parametrize(("wrapper", "entry"), FUNCTIONS, ids=lambda value: getattr(value, "NAME", "") or value["name"])
def test_wrapper__every_function_of_the_abi__has_a_method_that_fits(wrapper: type[Contract], entry: dict) -> None:
    method = getattr(wrapper, RENAMED.get((wrapper.NAME, entry["name"]), snake(entry["name"])))
    parameters = [name for name in inspect.signature(method).parameters if name not in {"self", "block", "value"}]
    assert len(parameters) == len(entry["inputs"])
    reads = entry["stateMutability"] in {"view", "pure"}
    assert reads == (get_type_hints(method)["return"] is not Call)
    assert ("value" in inspect.signature(method).parameters) == (entry["stateMutability"] == "payable")


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_wrapper__every_method__is_of_the_abi(wrapper: type[Contract]) -> None:
    known = {snake(entry["name"]) for entry in load(wrapper.NAME).abi if entry["type"] == "function"}
    methods = {name for name in vars(wrapper) if not name.startswith("_") and name != "NAME"}
    as_calls = {f"{name}_call" for name in known}  # what a wallet is asked to call, though it only reads
    assert methods - set(RENAMED.values()) <= known | as_calls
