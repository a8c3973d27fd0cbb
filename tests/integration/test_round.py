"""Whole rounds with real contracts, chain, store, envelopes and scores; nodes tick in this process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load
from typer.testing import CliRunner

from tests.integration.gateway import gateway
from tests.integration.second import ask, assert_agrees
from tests.support import CLEAN, NOISE, World
from validator.actions.auditor import audit_round
from validator.actions.contributor import claim, contribute, latest_evidence
from validator.actions.standing import look_up
from validator.actions.steward import grant
from validator.audit.case import open_case
from validator.cli.app import app
from validator.content import Cid, LocalStore
from validator.envelope import Context, seal
from validator.journal import ProtectionError, SigningProtection
from validator.journal.protection import Slot
from validator.payload import encode_safetensors
from validator.rounds.types import Status
from validator.stages.round import tick


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path, validators=3, capacity=2)
    yield made
    made.close()


def test_round__three_validators__finalise_on_equal_bits_and_an_audit_agrees(world: World):
    honest, noise = world.contribute(CLEAN, NOISE)
    nodes = [world.node(name) for name in world.names]
    world.play(nodes, lambda: world.is_final(1))
    state = world.round(1)
    assert len({digest for digest, _, _ in state.attestations.values()}) == 1
    assert len(state.attestations) == 3
    evidence = latest_evidence(world.facts(), world.wallet.store)
    assert [Status(line.status) for line in evidence.contributions] == [Status.PAID, Status.BELOW_NOISE]
    world.add_home("auditor")
    keys = world.keys["auditor"]
    grant(world.wallet, world.steward, keys.address, keys.hpke_key, [1])
    world.chain.mine(3)
    verdict = audit_round(world.wallet, world.home("auditor"), 1, 4)
    assert verdict.match, verdict.to_dict()
    assert verdict.signatures == 3
    assert look_up(world.wallet, honest.id).line.paid > 0
    assert look_up(world.wallet, noise.id).line.paid == 0


def test_round__near_copy_of_what_an_earlier_round_paid__adds_next_to_nothing_and_an_audit_agrees(world: World):
    payload = world.payload()
    first = contribute(world.contributor(), payload)
    world.contribute(NOISE)
    nodes = [world.node(name) for name in world.names]
    world.play(nodes, lambda: world.is_final(1))
    copy = contribute(world.contributor(), nearly(payload))
    world.contribute(NOISE)
    world.play(nodes, lambda: world.is_final(2))
    original, repeated = look_up(world.wallet, first.id).line, look_up(world.wallet, copy.id).line
    assert repeated.repeats == 0
    assert repeated.raw < original.raw / 4
    world.add_home("auditor")
    keys = world.keys["auditor"]
    grant(world.wallet, world.steward, keys.address, keys.hpke_key, [1])
    world.chain.mine(3)
    verdict = audit_round(world.wallet, world.home("auditor"), 2, 4)
    assert verdict.match, verdict.to_dict()
    reports = world.folder / "reports"
    audited = command(world, "audit 1-2 --level 2 --json --report", str(reports), "--home", "auditor")
    assert [(one["round"], one["match"], one["level"]) for one in audited["rounds"]] == [(1, True, 2), (2, True, 2)]
    said = command(world, "audit verify-report --json", str(reports / "round-2.json"), "--home", "auditor")
    assert (said["auditor"], said["match"]) == (keys.address.lower(), True)
    drawn, told = on_terminal("audit", "1-2", "--level", "3", "--home", str(world.folder / "auditor"))
    assert [f"round {number} of 2: " in drawn for number in (1, 2)] == [True, True]
    assert drawn.index("round 1 of 2: ") < drawn.index("round 2 of 2: ")
    assert drawn.endswith(SHOWN_CURSOR)
    assert [line.split(",")[0] for line in told] == [
        "round 1: match",
        "round 2: match",
        "2 of 2 rounds match at level 3",
    ]
    place = ["--rpc", world.chain.url, "--contract", world.wallet.deployment.rounds]
    with gateway(world.folder / "store") as url:
        alone = command(world, "audit --all --from-chain --json", *place, "--content", f"gateway:{url}")
        assert_agrees(ask(world.chain.url, world.wallet.deployment.rounds, url, 2))
    assert (alone["match"], alone["level"], len(alone["rounds"])) == (True, 2, 2)


def command(world: World, words: str, *more: str) -> dict[str, Any]:
    """A command's answer; a home is named by its name."""
    arguments = [*words.split(), *more]
    if "--home" in arguments:
        place = arguments.index("--home") + 1
        arguments[place] = str(world.folder / arguments[place])
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, (done.output, done.exception)
    return json.loads(done.stdout)


SHOWN_CURSOR = "\x1b[?25h\r\x1b[1A\x1b[2K"
"""How rich leaves a terminal: the cursor shown again, the bar's line wiped."""


def on_terminal(*arguments: str) -> tuple[str, list[str]]:
    """What the program draws for somebody who watches standard error on a terminal, and the lines of its output."""
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "validator", *arguments],
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
    )
    os.close(theirs)
    drawn = b""
    with suppress(OSError), os.fdopen(ours, "rb", buffering=0) as terminal:  # EIO is a terminal's end
        while piece := terminal.read(65_536):
            drawn += piece
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, drawn
    return drawn.decode(), output.splitlines()


def nearly(payload: bytes) -> bytes:
    """The same to the eye, and no hash is equal: every value moved to the next one."""
    found = load(payload)
    moved = np.clip(np.nextafter(found["inputs"], np.float32(0.5)), 0, 1)
    return encode_safetensors(moved, found["targets"])


def test_round__claimed__pays_the_contributor_whoever_sends_it(world: World):
    contributor = world.contributor()
    contribute(contributor, world.payload())
    world.contribute(NOISE)
    nodes = [world.node(name) for name in world.names]
    world.play(nodes, lambda: world.is_final(1))
    token = world.wallet.token(world.wallet.deployment.reward_token)
    amount, _ = claim(world.wallet, contributor.signer.address)
    assert token.balance_of(contributor.signer.address) == amount > 0


def test_round__one_validator_silent__stalls_is_retried_and_ends_with_its_return(world: World):
    world.contribute(CLEAN, NOISE)
    two = [world.node(name) for name in world.names[:2]]
    world.play(two, lambda: len(world.round(1).reports) == 2)
    world.chain.advance(2_000)
    world.play(two, lambda: world.round(1).attempt == 2)
    world.play([*two, world.node(world.names[2])], lambda: world.is_final(1))
    assert world.round(1).final["attempt"] == 2


def test_round__envelope_missing_for_all__is_unavailable_and_the_other_is_paid(world: World):
    gone, there = world.contribute(CLEAN, CLEAN)
    store = LocalStore(world.folder / "store")
    cid = Cid.parse(gone.cid)
    store.unpin(cid)
    store._path(cid).unlink()
    nodes = [world.node(name) for name in world.names]
    for node in nodes:
        node.clock = _quick_clock()
    world.play(nodes, lambda: world.is_final(1))
    assert look_up(world.wallet, gone.id).line.status == Status.UNAVAILABLE
    assert look_up(world.wallet, there.id).line.status == Status.PAID


def test_round__journal_lost_after_the_commit__answer_comes_back_from_the_chain(world: World):
    world.contribute(CLEAN, NOISE)
    nodes = [world.node(name) for name in world.names]
    world.play(nodes, lambda: len(world.round(1).commits) == 3)
    nodes[0].journal.close()
    nodes[0].identity.protection.close()
    for file in (world.folder / world.names[0]).glob("journal.sqlite*"):
        file.unlink()
    nodes[0] = world.node(world.names[0])
    world.play(nodes, lambda: world.is_final(1))
    assert len(world.round(1).attestations) == 3


def test_tick__signing_history_emptied_while_the_chain_shows_attestations__signs_nothing(world: World):
    world.contribute(CLEAN, NOISE)
    nodes = [world.node(name) for name in world.names]
    world.play(nodes, lambda: world.is_final(1))
    nodes[0].identity.protection.close()
    history = world.folder / world.names[0] / "protection.sqlite"
    history.unlink()
    SigningProtection(history, create=True).close()
    reopened = world.node(world.names[0])
    with pytest.raises(ProtectionError, match="import"):
        tick(reopened)


def test_tick__chain_shows_an_answer_of_ours_that_another_machine_signed__signs_nothing(world: World):
    world.contribute(CLEAN, NOISE)
    nodes = [world.node(name) for name in world.names]
    world.play(nodes, lambda: world.is_final(1))
    nodes[0].identity.protection.close()
    history = world.folder / world.names[0] / "protection.sqlite"
    history.unlink()
    other = SigningProtection(history, create=True)
    deployment = world.wallet.deployment
    other.register(Slot(deployment.chain_id, deployment.rounds, nodes[0].identity.operator, 1, 1), b"x" * 32)
    other.close()
    with pytest.raises(ProtectionError, match="import"):
        tick(world.node(world.names[0]))


def test_tick__other_content_was_signed_before__refuses_and_never_attests(world: World):
    world.contribute(CLEAN, NOISE)
    nodes = [world.node(name) for name in world.names]
    identity = nodes[0].identity
    slot = Slot(world.wallet.deployment.chain_id, world.wallet.deployment.rounds, identity.operator, 1, 1)
    identity.protection.register(slot, b"x" * 32)
    world.play(nodes, lambda: len(world.round(1).commits) == 2)
    for _ in range(5):
        tick(nodes[0])
    assert nodes[0].identity.operator.lower() not in world.round(1).commits


def test_dry_run__scores_to_the_same_answer_and_sends_nothing(world: World):
    world.contribute(CLEAN, NOISE)
    nodes = [world.node(name) for name in world.names]
    keys = world.add_home("watcher")
    grant(world.wallet, world.steward, keys.address, keys.hpke_key, [1])
    watcher = world.node("watcher", dry_run=True)
    sent = world.w3.eth.get_transaction_count(keys.address)
    world.play([*nodes, watcher], lambda: watcher.journal.step(1, 1, "scored") is not None)
    world.play(nodes, lambda: world.is_final(1))
    assert watcher.journal.step(1, 1, "scored")["evidence"] == world.round(1).final["evidence"]
    assert world.w3.eth.get_transaction_count(keys.address) == sent


@pytest.mark.parametrize("liar_first", [True, False])
def test_round__somebody_submits_the_same_digest_with_another_size__harms_only_himself(world: World, liar_first: bool):
    contributor, liar = world.contributor(), world.contributor()
    payload = world.payload()
    deployment = world.wallet.deployment
    context = Context(deployment.chain_id, deployment.rounds.lower(), 1, contributor.signer.address.lower())
    sealed = seal(payload, [world.wallet.contracts.dao.key_of(1)], context)
    cid = world.wallet.store.put(sealed)
    order = [(liar, len(sealed) + 1), (contributor, len(sealed))]
    for wallet, size in order if liar_first else reversed(order):
        deposit = wallet.contracts.rounds.submission_terms()[2]
        call = wallet.registry.submit(cid.digest, cid.codec_byte, size, 1, deposit)
        wallet.sender.send(call, intent=f"submit/{size}")
    nodes = [world.node(name) for name in world.names]
    for node in nodes:
        node.clock = _quick_clock()
    world.play(nodes, lambda: world.is_final(1))
    evidence = latest_evidence(world.facts(), world.wallet.store)
    statuses = {line.contributor: Status(line.status) for line in evidence.contributions}
    assert statuses[contributor.signer.address.lower()] is Status.PAID
    assert statuses[liar.signer.address.lower()] is Status.UNAVAILABLE


def test_round__reorg_below_what_was_taken_for_final__is_rolled_back_and_the_round_still_ends(world: World):
    world.contribute(CLEAN, NOISE)
    nodes = [world.node(name) for name in world.names]
    world.play(nodes, lambda: len(world.round(1).reports) == 3)
    for node in nodes:
        tick(node)
    world.chain.reorganise(6, requeue=True)
    world.play(nodes, lambda: world.is_final(1))
    state = world.round(1)
    assert len({digest for digest, _, _ in state.attestations.values()}) == 1


def test_audit__bundle_tampered__names_the_first_difference(world: World):
    import msgspec

    from validator.audit.verdict import first_difference

    world.contribute(CLEAN, NOISE)
    nodes = [world.node(name) for name in world.names]
    world.play(nodes, lambda: world.is_final(1))
    case = open_case(world.w3, world.wallet.deployment, world.wallet.store, world.facts(), 1)
    lines = list(case.evidence.contributions)
    lines[1] = msgspec.structs.replace(lines[1], raw=lines[1].raw + 1)
    tampered = msgspec.structs.replace(case.evidence, contributions=lines)
    difference = first_difference(case.evidence, tampered)
    assert (difference.contribution, difference.field) == (lines[1].id, "raw")


def _quick_clock():
    """A clock on which every look is three seconds later, so that retries are soon due."""
    now = iter(range(1_700_000_000, 1_800_000_000, 3))
    return lambda: float(next(now))
