"""One round through the wrappers, from joining to the claim, on the embedded chain."""

from __future__ import annotations

import pytest

from tests.chain.round_play import ROUND_TOTAL, STAKE, Play, attestation_for, other
from validator.chain.errors import Reverted
from validator.chain.events import EventDecoder
from validator.chain.follower import Follower
from validator.chain.rpc import connect
from validator.chain.typed_data import attestation_data, recover
from validator.chain.types import Attestation, Phase, ScoreLeaf


def test_round__three_validators_agree__is_finalised_and_pays(play: Play) -> None:
    of, contributor = play.contracts, play.senders[4].address
    identifier = play.submit(b"\xaa" * 32)
    play.send(4, of.rounds.close())
    assert of.rounds.phase(1) is Phase.CLOSED
    seed = play.draw(1)
    assert of.rounds.phase(1) is Phase.REPORTING
    for index in (1, 2, 3):
        play.send(index, of.rounds.report_availability(1, b"\x01"))
    assert of.rounds.phase(1) is Phase.COMMITTING
    leaf = ScoreLeaf(identifier, contributor, 1, ROUND_TOTAL, -5, 3)
    attestation = attestation_for(play, 1, leaf)
    assert attestation.seed == seed != bytes(32)
    for index in (1, 2, 3):
        play.commit(index, attestation, bytes([index]) * 32)
    for index in (1, 2, 3):
        play.attest(index, attestation, bytes([index]) * 32)
    play.send(4, of.rounds.finalise(attestation))
    assert of.rounds.phase(1) is Phase.FINALISED
    assert of.rounds.verify_score(1, leaf, ())
    play.send(4, of.rounds.record_score(1, leaf, ()))
    assert of.rounds.score_of(identifier) == (1, leaf)
    play.send(0, of.pool.claim(contributor, ROUND_TOTAL, ()))
    assert of.reward_token.balance_of(contributor) == ROUND_TOTAL
    play.chain.advance(200)
    play.send(0, of.pool.claim_fee(1, play.senders[1].address))
    assert of.reward_token.balance_of(play.senders[1].address) == 100


def test_round__followed_from_the_start__yields_every_event_in_plain_python(play: Play) -> None:
    of, contributor = play.contracts, play.senders[4].address
    identifier = play.submit(b"\xaa" * 32)
    play.send(4, of.rounds.close())
    play.draw(1)
    for index in (1, 2, 3):
        play.send(index, of.rounds.report_availability(1, b"\x01"))
    attestation = attestation_for(play, 1, ScoreLeaf(identifier, contributor, 1, ROUND_TOTAL, -5, 3))
    for index in (1, 2, 3):
        play.commit(index, attestation, bytes([index]) * 32)
    play.attest(1, attestation, b"\x01" * 32)

    batch = Follower(connect(play.chain.url), play.deployment, finality=0).scan(None)

    assert batch.caught_up
    of_kind = {name: [event for event in batch.events if event.name == name] for name in {e.name for e in batch.events}}
    assert [e.args["operator"] for e in of_kind["ValidatorJoined"]] == [s.address for s in play.operators]
    assert of_kind["ValidatorJoined"][0].args["stake"] == STAKE
    assert of_kind["ContributionSubmitted"][0].args["digest"] == b"\xaa" * 32
    assert of_kind["AvailabilityReported"][2].args["bitmap"] == b"\x01"
    assert of_kind["Committed"][0].args["backup"] == b"backup"
    attested = of_kind["Attested"][0]
    assert attested.args["attestation"] == attestation
    assert isinstance(attested.args["attestation"], Attestation)
    data = attestation_data(play.deployment.chain_id, play.deployment.rounds, attestation)
    assert recover(data.digest, attested.args["signature"]) == play.senders[1].address
    assert {e.contract for e in batch.events} == {
        "DataDAO",
        "ScoringRounds",
        "ContributionRegistry",
        "ValidatorSet",
        "RewardPool",
    }
    positions = [(event.block, event.log_index) for event in batch.events]
    assert positions == sorted(positions)


def test_prove_equivocation__two_answers_signed__slashes_and_rewards_the_reporter(play: Play) -> None:
    of = play.contracts
    identifier = play.submit(b"\xaa" * 32)
    play.send(4, of.rounds.close())
    play.draw(1)
    first = attestation_for(play, 1, ScoreLeaf(identifier, play.senders[4].address, 1, ROUND_TOTAL, 0, 0))
    chain_id, rounds = play.deployment.chain_id, play.deployment.rounds
    signatures = [play.signer(2).sign_typed_data(attestation_data(chain_id, rounds, a)) for a in (first, other(first))]
    cheat = play.senders[2].address
    play.send(4, of.rounds.prove_equivocation(cheat, first, signatures[0], other(first), signatures[1]))
    assert of.validators.stake_of(cheat) == STAKE // 2
    assert of.stake_token.balance_of(play.senders[4].address) == 5


def test_send__attestation_never_committed_to__is_refused_in_words_before_sending(play: Play) -> None:
    of = play.contracts
    identifier = play.submit(b"\xaa" * 32)
    play.send(4, of.rounds.close())
    play.draw(1)
    for index in (1, 2, 3):
        play.send(index, of.rounds.report_availability(1, b"\x01"))
    attestation = attestation_for(play, 1, ScoreLeaf(identifier, play.senders[4].address, 1, ROUND_TOTAL, 0, 0))
    for index in (1, 2, 3):
        play.commit(index, attestation, bytes([index]) * 32)
    before = play.senders[1].next_nonce()
    with pytest.raises(Reverted, match="did not commit to this attestation and salt in attempt 1 of round 1") as caught:
        play.attest(1, other(attestation), b"\x01" * 32)
    assert caught.value.name == "CommitMismatch"
    assert caught.value.arguments["operator"] == play.senders[1].address
    assert play.senders[1].next_nonce() == before


def test_read__at_an_earlier_block__gives_the_state_of_that_block(play: Play) -> None:
    height = play.contracts.rounds.w3.eth.block_number
    play.submit(b"\xaa" * 32)
    assert play.contracts.registry.count(block=height) == 0
    assert play.contracts.registry.count(block="latest") == 1
    block_hash = bytes(play.contracts.rounds.w3.eth.get_block(height)["hash"])
    assert play.contracts.registry.count(block=block_hash) == 0


def test_receipt_logs__of_a_submission__decode_to_its_event(play: Play) -> None:
    call = play.contracts.registry.submit(b"\xbb" * 32, 1, 5, 1, play.contracts.rounds.submission_terms()[2])
    receipt = play.senders[4].send(call, "submit/bb")
    (event,) = EventDecoder(play.deployment).decode_all(receipt.logs)
    assert (event.name, event.args["id"], event.args["codec"]) == ("ContributionSubmitted", 1, 1)
