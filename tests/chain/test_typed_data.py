"""Digests and signatures, against the contracts that verify them."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak
from hypothesis import given
from hypothesis import strategies as st

from tests.chain.round_play import DEPOSIT, STAKE, Play
from validator.chain.deploy import domain_separator
from validator.chain.devchain import derive_keys
from validator.chain.signer import LocalSigner
from validator.chain.typed_data import (
    ATTESTATION,
    Submission,
    attestation_data,
    attestation_digest,
    commit_hash,
    recover,
    signer_consent,
)
from validator.chain.types import Attestation

CHAIN = 31337
ROUNDS = "0xCf7Ed3AccA5a467e9e704C703E8D87F634fB0Fc9"

digests = st.binary(min_size=32, max_size=32)


def unsigned(bits: int) -> st.SearchStrategy[int]:
    return st.integers(min_value=0, max_value=2**bits - 1)


attestations = st.builds(
    Attestation,
    round=unsigned(64),
    attempt=unsigned(32),
    manifest=digests,
    seed=digests,
    inputs_root=digests,
    scores_root=digests,
    earnings_root=digests,
    round_total=unsigned(128),
    earned_total=unsigned(128),
    count=unsigned(32),
    evidence=digests,
)


def by_hand(attestation: Attestation) -> bytes:
    """EIP-712 spelled out: keccak(0x1901 || domain separator || keccak(type hash || fields))."""
    declared = ",".join(f"{kind} {name}" for name, kind in ATTESTATION)
    kinds = [kind for _, kind in ATTESTATION]
    values = [getattr(attestation, field.name) for field in fields(Attestation)]
    struct = keccak(encode(["bytes32", *kinds], [keccak(text=f"ScoreAttestation({declared})"), *values]))
    return keccak(b"\x19\x01" + domain_separator(CHAIN, ROUNDS) + struct)


@given(attestations)
def test_attestation_digest__any_attestation__is_eip712_by_the_letter(attestation: Attestation) -> None:
    assert attestation_digest(CHAIN, ROUNDS, attestation) == by_hand(attestation)


def test_attestation_digest__extreme_values__equals_the_contracts(play: Play) -> None:
    top = Attestation(
        2**64 - 1, 2**32 - 1, b"\xff" * 32, b"\x01" * 32, b"\x02" * 32, b"\x03" * 32, b"\x04" * 32,
        2**128 - 1, 2**128 - 2, 2**32 - 2, b"\x05" * 32,
    )  # fmt: skip
    zero = Attestation(0, 0, *[bytes(32)] * 5, 0, 0, 0, bytes(32))
    for attestation in (top, zero):
        expected = play.contracts.rounds.attestation_digest(attestation)
        assert attestation_digest(CHAIN, play.deployment.rounds, attestation) == expected


@given(attestations, st.sampled_from([field.name for field in fields(Attestation)]))
def test_attestation_digest__one_field_changed__changes(attestation: Attestation, name: str) -> None:
    value = getattr(attestation, name)
    changed = bytes([value[0] ^ 1]) + value[1:] if isinstance(value, bytes) else value ^ 1
    assert attestation_digest(CHAIN, ROUNDS, replace(attestation, **{name: changed})) != attestation_digest(
        CHAIN, ROUNDS, attestation
    )


def test_sign__attestation__recovers_to_the_signer_and_to_nobody_elsewhere() -> None:
    signer = LocalSigner(derive_keys()[0].secret)
    attestation = Attestation(1, 1, *[bytes(32)] * 5, 0, 0, 0, bytes(32))
    data = attestation_data(CHAIN, ROUNDS, attestation)
    signature = signer.sign_typed_data(data)
    assert signature == signer.sign_typed_data(data)
    assert recover(data.digest, signature) == signer.address
    assert recover(attestation_digest(CHAIN + 1, ROUNDS, attestation), signature) != signer.address


@pytest.mark.parametrize("signature", [b"", b"\x01" * 64, b"\x00" * 65, b"\xff" * 65, b"\x01" * 64 + b"\x05"])
def test_recover__malformed_signature__is_none(signature: bytes) -> None:
    assert recover(b"\x07" * 32, signature) is None


def test_commit_hash__any_part_changed__changes() -> None:
    operators = [key.address for key in derive_keys()[:2]]
    whole = [CHAIN, ROUNDS, 7, 1, operators[0], b"\x01" * 32, b"\x02" * 32]
    others = [CHAIN + 1, operators[0], 8, 2, operators[1], b"\x03" * 32, b"\x04" * 32]
    hashes = {commit_hash(*whole)}
    for position, value in enumerate(others):
        hashes.add(commit_hash(*whole[:position], value, *whole[position + 1 :]))
    assert len(hashes) == len(whole) + 1


def test_signer_consent__by_a_separate_signing_key__lets_the_operator_join(play: Play) -> None:
    of, operator, signer = play.contracts, play.senders[4].address, play.signer(5)
    consent = signer.sign_typed_data(signer_consent(CHAIN, play.deployment.validators, operator))
    play.send(0, of.dao.admit(operator, True))
    play.send(0, of.stake_token.mint(operator, STAKE))
    play.send(4, of.stake_token.approve(play.deployment.validators, STAKE))
    play.send(4, of.validators.join(STAKE, signer.address, b"\x04" * 32, consent))
    assert of.validators.operator_of(signer.address) == operator
    assert of.validators.validator(operator).signer == signer.address


def test_submission__signed_by_the_contributor__can_be_relayed(play: Play) -> None:
    contributor = play.signer(6)
    until = int(play.contracts.rounds.w3.eth.get_block("latest")["timestamp"]) + 60
    permission = Submission(contributor.address, b"\xcc" * 32, 1, 77, 1, until)
    signature = contributor.sign_typed_data(permission.typed_data(CHAIN, play.deployment.registry))
    play.send(
        4,
        play.contracts.registry.submit_for(contributor.address, b"\xcc" * 32, 1, 77, 1, until, signature, DEPOSIT),
    )
    stored = play.contracts.registry.contribution(1)
    assert (stored.contributor, stored.payer, stored.size) == (contributor.address, play.senders[4].address, 77)
