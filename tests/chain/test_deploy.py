"""Deployments: made, found again, and told from others."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.chain.round_play import PARAMETERS, Play
from tests.chain.support import sender_of
from validator.chain.artifacts import CONTRACTS, load
from validator.chain.deploy import _creation, deploy, deploy_token, domain_separator, load_deployment
from validator.chain.devchain import DevChain
from validator.chain.errors import NotOurContracts, Reverted
from validator.chain.rpc import connect


def test_load_deployment__from_the_entry_address__finds_what_was_deployed(chain: DevChain) -> None:
    chain.mine(5)
    sender, w3 = sender_of(chain), connect(chain.url)
    token = deploy_token(w3, sender, "Token", "TOK")
    deployment = deploy(w3, sender, sender.address, PARAMETERS, token, token)
    chain.mine(5)
    assert load_deployment(w3, deployment.rounds.lower()) == deployment
    assert deployment.block == 7


def test_load_deployment__address_without_code__says_so(chain: DevChain) -> None:
    with pytest.raises(NotOurContracts, match=r"there is no contract at .* where ScoringRounds should be"):
        load_deployment(connect(chain.url), chain.keys[5].address)


def test_load_deployment__not_an_address__says_so(chain: DevChain) -> None:
    with pytest.raises(NotOurContracts, match="'0x12' is not an address"):
        load_deployment(connect(chain.url), "0x12")


def test_load_deployment__another_contract__says_so(play: Play) -> None:
    with pytest.raises(NotOurContracts, match="is not ScoringRounds of this version"):
        load_deployment(connect(play.chain.url), play.deployment.registry)


def test_load_deployment__contracts_of_two_deployments_mixed__says_so(chain: DevChain) -> None:
    sender, w3 = sender_of(chain), connect(chain.url)
    token = deploy_token(w3, sender, "Token", "TOK")
    first = deploy(w3, sender, sender.address, PARAMETERS, token, token)
    # A second ScoringRounds that claims the first one's registry, set and pool.
    call = _creation(w3, "ScoringRounds", first.dao, first.registry, first.validators, first.pool)
    impostor = sender.send(call, "impostor").contract_address
    assert impostor is not None
    with pytest.raises(NotOurContracts, match="not one deployment"):
        load_deployment(w3, impostor)


def test_deploy__parameters_out_of_range__are_refused_in_words(chain: DevChain) -> None:
    sender, w3 = sender_of(chain), connect(chain.url)
    token = deploy_token(w3, sender, "Token", "TOK")
    with pytest.raises(Reverted, match=r"parameter .* is out of its range: correct it"):
        deploy(w3, sender, sender.address, replace(PARAMETERS, exit_seconds=1), token, token)


def test_domain_separator__of_the_deployed_contract__is_the_same(play: Play) -> None:
    expected = domain_separator(play.deployment.chain_id, play.deployment.rounds)
    assert play.contracts.rounds.domain_separator() == expected


@pytest.mark.parametrize("name", CONTRACTS)
def test_matches__values_of_immutables__are_not_looked_at_but_must_agree(name: str) -> None:
    artifact = load(name)
    code = bytearray(artifact.deployed_bytecode)
    for number, places in enumerate(artifact.immutables):
        for place in places:
            assert code[place - 1] == 0x7F, "a PUSH32 of the value"
            code[place : place + 32] = number.to_bytes(32, "big")
    assert artifact.matches(bytes(code))
    for places in artifact.immutables:
        if len(places) > 1:
            twofold = bytearray(code)
            twofold[places[0]] ^= 0x01
            assert not artifact.matches(bytes(twofold)), "one immutable with two values"


def test_deploy__endpoint_shows_other_code__says_so(chain: DevChain, monkeypatch: pytest.MonkeyPatch) -> None:
    sender, w3 = sender_of(chain), connect(chain.url)
    token = deploy_token(w3, sender, "Token", "TOK")
    genuine = w3.eth.get_code
    monkeypatch.setattr(w3.eth, "get_code", lambda *asked: bytes(genuine(*asked))[:-1] + b"\xfe")
    with pytest.raises(NotOurContracts, match="is not DataDAO of this version"):
        deploy(w3, sender, sender.address, PARAMETERS, token, token)


@pytest.mark.parametrize("name", CONTRACTS)
def test_matches__one_byte_changed__is_another_contract(name: str) -> None:
    artifact = load(name)
    code = artifact.deployed_bytecode
    assert artifact.matches(code)
    assert not artifact.matches(code + b"\x00")
    for position in (0, 100, len(code) // 2, len(code) - 1):
        changed = bytearray(code)
        changed[position] ^= 0x01
        assert not artifact.matches(bytes(changed))
