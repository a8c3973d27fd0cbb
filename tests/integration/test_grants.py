"""A grant of a round that was judged on top of the one before it, and that holds an envelope which does not open."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.support import CLEAN, World
from validator.actions.auditor import audit_round, grant_round
from validator.actions.connect import Wallet
from validator.actions.contributor import submit
from validator.audit.case import AuditError, open_case
from validator.envelope import Context, seal
from validator.envelope.format import read_head
from validator.rounds.types import Status


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("grants"), validators=1, capacity=2)
    node = made.node("validator-1")
    for number in (1, 2):
        made.contribute(CLEAN)
        wallet = made.contributor()
        submit(wallet, with_a_dead_wrap(made, wallet), 1)
        made.play([node], lambda number=number: made.is_final(number), seconds=400)  # type: ignore[misc]
    made.chain.mine(3)
    yield made
    made.close()


def with_a_dead_wrap(world: World, wallet: Wallet) -> bytes:
    """An envelope that names the DAO's key, and whose wrap does not open: only holders of its secret can tell."""
    place = wallet.deployment.chain_id, wallet.deployment.rounds.lower()
    sealed = seal(b"x", [world.wallet.contracts.dao.key_of(1)], Context(*place, 1, wallet.signer.address.lower()))
    head = read_head(sealed)
    dead = replace(head.header, recipients=(replace(head.header.recipients[0], wrap=bytes(80)),))
    return dead.encode() + sealed[head.size :]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_grant__of_a_second_round__audits_it_on_top_of_the_first_ones_records(world: World) -> None:
    case = open_case(world.w3, world.wallet.deployment, world.wallet.store, world.facts(), 2)
    assert [line.status for line in case.evidence.contributions][1] == Status.UNDECRYPTABLE
    assert case.carry.memory, "the first round paid nothing, so that this proves nothing"
    reader = world.add_home("reader")

    document = grant_round(world.wallet, world.steward, 2, reader.hpke_key)  # the steward's home has the epoch itself
    verdict = audit_round(world.wallet, world.home("reader"), 2, 3, grant=document)

    assert verdict.match, verdict
    told = {check.name: check.detail for check in verdict.checks}
    assert told["granter"] == "envelopes that do not open by the granter's word alone: 1"
    with pytest.raises(AuditError, match="the grant is for round 2"):
        audit_round(world.wallet, world.home("reader"), 1, 3, grant=document)
    with pytest.raises(AuditError, match="steward"):
        audit_round(world.wallet, world.home("reader"), 2, 3)
