"""Dishonest validators and contributors against real contracts: each ends with what the protocol promises.

Four validators of equal stake, so that the three honest ones are a quorum; the fourth does one thing that is wrong.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.faults.tiny import TinyWorld
from tests.support import CLEAN, NOISE
from validator.actions.auditor import audit_round
from validator.actions.connect import Wallet
from validator.actions.contributor import contribute, latest_evidence, submit
from validator.actions.faults import FaultError, Signed, charge_unrevealed, prove_equivocation
from validator.audit.case import to_attestation
from validator.chain.errors import Reverted
from validator.chain.typed_data import attestation_data
from validator.chain.types import Phase
from validator.content import Cid, LocalStore
from validator.demo.dao import PARAMETERS, STAKE
from validator.rounds.types import Status
from validator.settings import load_settings
from validator.stages import attest, commit
from validator.stages.node import Node
from validator.stages.round import tick

FEE = PARAMETERS.validator_fee
LIAR = 3
"""Which of the four is dishonest."""

pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[TinyWorld]:
    made = TinyWorld(tmp_path, validators=4, capacity=2)
    yield made
    made.close()


@pytest.fixture
def nodes(world: TinyWorld) -> Iterator[list[Node]]:
    made = [world.node(name) for name in world.names]
    yield made
    for node in made:
        with closing(node.journal), closing(identity(node).protection):
            pass


def identity(node: Node) -> Any:
    assert node.identity is not None
    return node.identity


def stake_of(world: TinyWorld, node: Node) -> int:
    return world.wallet.contracts.validators.stake_of(identity(node).operator)


def collect_fees(world: TinyWorld, nodes: list[Node], number: int) -> list[int]:
    """What each of `nodes` was paid for round `number` once its attest deadline had passed."""
    token = world.wallet.token(world.wallet.deployment.reward_token)
    before = [token.balance_of(identity(node).operator) for node in nodes]
    world.chain.advance(world.round(number).attest_deadline - int(time.time()) + 60)
    world.play(nodes, lambda: all(settled(node, number) for node in nodes))
    return [token.balance_of(identity(node).operator) - held for node, held in zip(nodes, before, strict=True)]


def settled(node: Node, number: int) -> bool:
    """Whether nothing is left for `node` to do about the fee of round `number`: claimed, or not earned."""
    state = node.chronicle.rounds()[number]
    mine = state.attestations.get(identity(node).operator.lower())
    earned = mine is not None and mine[0] == state.final_digest
    return node.finalised_time() > state.attest_deadline and (
        not earned or node.journal.step(number, 0, "fee") is not None
    )


def until_committed(world: TinyWorld, nodes: list[Node], number: int, count: int) -> None:
    """Tick one node at a time until `count` commits of the current attempt are final."""
    deadline = time.monotonic() + 60
    while len(world.round(number).commits) < count:
        assert time.monotonic() < deadline
        for node in nodes:
            tick(node)


# Validators


def test_validator__attests_another_root__earns_nothing_and_the_honest_finalise(world: TinyWorld, nodes: list[Node]):
    world.contribute(CLEAN, NOISE)
    liar = nodes[LIAR]
    lie(liar)
    world.play(nodes, lambda: world.is_final(1) and len(world.round(1).attestations) == 4)
    state = world.round(1)
    digests = Counter(digest for digest, _, _ in state.attestations.values())
    assert digests[state.final_digest] == 3
    false = state.attestations[identity(liar).operator.lower()]
    assert false[2]["scores_root"] == b"\x66" * 32
    assert world.wallet.contracts.rounds.weight_on(false[0]) == STAKE
    assert collect_fees(world, nodes, 1) == [FEE // 4] * 3 + [0]
    with pytest.raises(Reverted, match="fee"):
        identity(liar).sender.simulate(world.wallet.contracts.pool.claim_fee(1, identity(liar).operator))
    assert [stake_of(world, node) for node in nodes] == [STAKE] * 4
    assert audit_round(world.wallet, world.home(world.names[0]), 1, 4).match


def lie(node: Node) -> None:
    """From now on this node's answers have another root of scores."""
    original = node.journal.take_step

    def take(number: int, attempt: int, step: str, data: Any) -> None:
        original(number, attempt, step, {**data, "scores_root": b"\x66" * 32} if step == "scored" else data)

    node.journal.take_step = take  # type: ignore[method-assign]


def test_validator__copies_a_commit__cannot_reveal_it_and_pays(
    world: TinyWorld, nodes: list[Node], monkeypatch: pytest.MonkeyPatch
):
    world.contribute(CLEAN, NOISE)
    honest, copycat = nodes[:LIAR], nodes[LIAR]
    commits = commit.run  # it waits for others to commit
    monkeypatch.setattr(commit, "run", lambda node, state: None if node is copycat else commits(node, state))
    world.play(nodes, lambda: len(world.round(1).reports) == 4)
    until_committed(world, honest, 1, 3)
    copied = world.round(1).commits[identity(nodes[0]).operator.lower()]
    rounds = world.wallet.contracts.rounds
    identity(copycat).sender.send(rounds.commit(1, copied, b""), intent="copied")
    world.play(honest, lambda: world.is_final(1) and len(world.round(1).attestations) == 3)
    shown = to_attestation(world.round(1).final)
    salt = commit.salt_of(nodes[0], identity(nodes[0]), world.round(1))
    deployment = world.wallet.deployment
    signature = identity(copycat).signer.sign_typed_data(
        attestation_data(deployment.chain_id, deployment.rounds, shown)
    )
    with pytest.raises(Reverted, match="commit"):
        identity(copycat).sender.simulate(rounds.attest(shown, salt, identity(copycat).operator, signature))
    assert collect_fees(world, honest, 1) == [FEE // 4] * 3
    charged = charge_unrevealed(world.contributor(), 1).charged
    assert [one.operator for one in charged] == [identity(copycat).operator]
    assert stake_of(world, copycat) == STAKE - PARAMETERS.unrevealed_fee
    assert [stake_of(world, node) for node in honest] == [STAKE] * 3


@pytest.mark.slow
@pytest.mark.parametrize("decisive", [False, True])
def test_validator__withholds_a_reveal__is_charged_and_the_round_ends(
    world: TinyWorld, nodes: list[Node], monkeypatch: pytest.MonkeyPatch, decisive: bool
):
    """Decisive: with one more validator away, the three that committed are just a quorum, and it needs all of them."""
    world.contribute(CLEAN, NOISE)
    withholder, here = nodes[LIAR], nodes[1:] if decisive else nodes
    attests = attest.run
    monkeypatch.setattr(attest, "run", lambda node, state: None if node is withholder else attests(node, state))
    if decisive:
        world.play(here, lambda: len(world.round(1).reports) == 3)
        world.chain.advance(PARAMETERS.report_seconds + 1)
        world.play(here, lambda: len(world.round(1).commits) == 3)
        world.chain.advance(PARAMETERS.commit_seconds + 1)
        world.play(here, lambda: len(world.round(1).attestations) == 2)
        assert world.wallet.contracts.rounds.phase(1) is Phase.ATTESTING
        world.chain.advance(PARAMETERS.attest_seconds + 1)
        charged = charge_unrevealed(world.contributor(), 1).charged
        world.play(nodes, lambda: world.is_final(1))
        assert world.round(1).attempt == 2
    else:
        world.play(here, lambda: world.is_final(1))
        world.chain.advance(world.round(1).attest_deadline - int(time.time()) + 60)
        charged = charge_unrevealed(world.contributor(), 1).charged
    assert [(one.operator, one.attempt) for one in charged] == [(identity(withholder).operator, 1)]
    assert stake_of(world, withholder) == STAKE - PARAMETERS.unrevealed_fee
    assert identity(withholder).operator.lower() not in world.round(1).attestations


@pytest.mark.slow
def test_validator__equivocates__is_slashed_by_anyone_and_the_honest_finalise(world: TinyWorld, nodes: list[Node]):
    world.contribute(CLEAN, NOISE)
    liar, reporter = nodes[LIAR], world.contributor()
    world.play(nodes, lambda: world.is_final(1) and len(world.round(1).attestations) == 4)
    honest = to_attestation(world.round(1).final)
    deployment, members = world.wallet.deployment, world.wallet.contracts.validators
    answers = [honest, replace(honest, scores_root=b"\x66" * 32)]
    pair = [
        Signed(a, identity(liar).signer.sign_typed_data(attestation_data(deployment.chain_id, deployment.rounds, a)))
        for a in answers
    ]
    done = prove_equivocation(reporter, *pair)
    taken = STAKE * PARAMETERS.slash_bps // 10_000
    share = taken * PARAMETERS.reporter_bps // 10_000
    assert (done.operator, done.taken, done.reward) == (identity(liar).operator, taken, share)
    assert members.burned() == taken - share > 0
    assert world.wallet.token(deployment.stake_token).balance_of(reporter.signer.address) == share
    with pytest.raises(Reverted, match="already"):
        prove_equivocation(reporter, *pair)
    with pytest.raises(FaultError, match="prove nothing"):
        prove_equivocation(reporter, pair[0], pair[0])
    assert world.wallet.contracts.rounds.phase(1) is Phase.FINALISED
    world.contribute(CLEAN, NOISE)
    world.play(nodes, lambda: world.is_final(2))
    assert world.round(2).members[identity(liar).operator.lower()][1] == STAKE - taken


# Contributors


@pytest.mark.slow
@pytest.mark.parametrize("served", [1, 3])
def test_contributor__serves_only_some_validators__is_in_for_all_or_for_none(tmp_path: Path, served: int):
    """Every validator has a store of its own, and can ask the first one's for what it lacks."""
    world = TinyWorld(tmp_path, validators=4, capacity=2)
    try:
        for name in world.names:
            own_store(world, name)
        nodes = [world.node(name) for name in world.names]
        for node in nodes:
            node.clock = _quick()
        stores = [LocalStore(world.folder / f"store-{name}") for name in world.names]
        shy, open_handed = world.contributor(), world.contributor()
        partly = contribute_to(shy, world.payload(), stores[:served])
        for_all = contribute_to(open_handed, world.payload(), stores)
        world.play(nodes, lambda: len(world.round(1).reports) == 4)
        if served == 3:  # a quorum holds it: the last one gets it from those that reported it
            stores[3].put(stores[0].read(Cid.parse(partly.cid), partly.size))
        world.play(nodes, lambda: world.is_final(1))
        state = world.round(1)
        assert len({digest for digest, _, _ in state.attestations.values()}) == 1
        evidence = latest_evidence(world.facts(), stores[0])
        assert evidence is not None
        included = {line.id: line.included for line in evidence.contributions}
        assert included == {partly.id: served == 3, for_all.id: True}
        for node in nodes:
            with closing(node.journal), closing(identity(node).protection):
                pass
    finally:
        world.close()


def own_store(world: TinyWorld, name: str) -> None:
    """A content store that only this home reads, and the DAO's documents in it."""
    file = world.folder / name / "validator.toml"
    text = file.read_text().replace(f"local:{world.folder / 'store'}", f"local:{world.folder / f'store-{name}'}")
    file.write_text(text)
    assert load_settings(world.folder / name).content.endswith(name)
    mine = LocalStore(world.folder / f"store-{name}")
    shared = LocalStore(world.folder / "store")
    for cid in shared.pins():
        mine.put(shared.read(cid, 2**20))


def contribute_to(wallet: Wallet, payload: bytes, stores: list[LocalStore]) -> Any:
    """Contribute, with the envelope in `stores` only."""
    done = [contribute(replace(wallet, store=stores[0]), payload)]
    envelope = stores[0].read(Cid.parse(done[0].cid), done[0].size)
    for store in stores[1:]:
        store.put(envelope)
    return done[0]


def _quick() -> Any:
    """A clock on which every look is three seconds later, so that retries are soon due."""
    now = iter(range(1_700_000_000, 1_800_000_000, 3))
    return lambda: float(next(now))


def test_contributor__changes_nothing_but_the_url__is_paid_once(world: TinyWorld, nodes: list[Node]):
    """The same bytes again, under another codec, and by another account: only the first submission counts."""
    first, thief = world.contributor(), world.contributor()
    done = contribute(first, world.payload())
    cid = Cid.parse(done.cid)
    with pytest.raises(Reverted, match="already"):
        again = first.registry.submit(cid.digest, cid.codec_byte, done.size, 1, PARAMETERS.deposit)
        first.sender.send(again, intent="the same")
    with pytest.raises(Reverted, match="already"):
        other_codec = first.registry.submit(cid.digest, 1 - cid.codec_byte, done.size, 1, PARAMETERS.deposit)
        first.sender.send(other_codec, intent="another codec")
    stolen = submit(thief, world.wallet.store.read(cid, done.size), 1)
    world.play(nodes, lambda: world.is_final(1))
    evidence = latest_evidence(world.facts(), world.wallet.store)
    assert evidence is not None
    lines = {line.id: line for line in evidence.contributions}
    assert Status(lines[done.id].status) in (Status.PAID, Status.BELOW_NOISE)
    assert (Status(lines[stolen.id].status), lines[stolen.id].paid) == (Status.REPLAYED, 0)
