"""Custom errors in words."""

from __future__ import annotations

from string import Formatter

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak

from validator.chain.abi import snake
from validator.chain.artifacts import CONTRACTS, DEV_TOKEN, load
from validator.chain.remedies import REMEDIES
from validator.chain.reverts import decode_revert

ERRORS = {
    entry["name"]: entry for name in (*CONTRACTS, DEV_TOKEN) for entry in load(name).abi if entry["type"] == "error"
}


def test_remedies__against_the_abis__are_complete_and_name_real_arguments() -> None:
    assert set(REMEDIES) == set(ERRORS)
    for name, sentence in REMEDIES.items():
        named = {field for _, field, _, _ in Formatter().parse(sentence) if field}
        assert named <= {snake(part["name"]) for part in ERRORS[name]["inputs"]}, name


def revert(signature: str, kinds: list[str], values: list[object]) -> bytes:
    return keccak(text=signature)[:4] + encode(kinds, values)


def test_decode__custom_error__gives_sentence_name_and_arguments() -> None:
    error = decode_revert(revert("StillOpen(uint64,uint64)", ["uint64", "uint64"], [7, 1_700_000_000]))
    assert str(error) == (
        "round 7 stays open until 2023-11-14 22:13:20 UTC, or until it is full "
        "[StillOpen(round 7, until 2023-11-14 22:13:20 UTC)]"
    )
    assert (error.name, error.arguments) == ("StillOpen", {"round": 7, "until": 1_700_000_000})


def test_decode__phase__is_named() -> None:
    error = decode_revert(revert("WrongPhase(uint64,uint8)", ["uint64", "uint8"], [3, 7]))
    assert str(error).startswith("round 3 is stalled, which does not allow this")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "refused without a reason"),
        (b"\x01\x02\x03\x04", "unknown error 0x01020304"),
        (b"\x01", "unknown error 0x01"),
        (keccak(text="StillOpen(uint64,uint64)")[:4] + b"\x00", "cannot be read"),
        (bytes.fromhex("08c379a0") + b"\xff" * 64, "cannot be read"),
        (bytes.fromhex("4e487b71") + bytes(31) + b"\x11", "panicked with code 0x11"),
        (revert("StillOpen(uint64,uint64)", ["uint64", "uint64"], [1, 2**64 - 1]), "until 18446744073709551615"),
        (revert("WrongPhase(uint64,uint8)", ["uint64", "uint8"], [3, 99]), "cannot be read"),
    ],
)
def test_decode__odd_data__still_makes_a_sentence(data: bytes, words: str) -> None:
    assert words in str(decode_revert(data))
