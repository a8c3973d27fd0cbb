"""The second verifier, which shares no code with ours: it must agree, and notice what ours notices."""

from __future__ import annotations

import importlib.util
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from secrets import token_bytes
from types import ModuleType
from typing import Any

import pytest

from tests.integration.conftest import LONG
from tests.integration.gateway import Answer, changes_a_byte, drips, gateway, has_none, never_ends, sends_elsewhere
from tests.integration.second import SECOND, ask, assert_agrees
from tests.support import World
from validator.actions.connect import open_wallet
from validator.actions.operator import join, request_exit, withdraw
from validator.audit.case import Case
from validator.chain.signer import LocalSigner
from validator.content import LocalStore


def second_verifier() -> ModuleType:
    spec = importlib.util.spec_from_file_location("second_verifier", SECOND)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def ask_second(
    world: World, source: str, number: int = 1, seconds: int = 60, *more: str
) -> subprocess.CompletedProcess[str]:
    return ask(world.chain.url, world.wallet.deployment.rounds, source, number, seconds, *more)


def assert_refuses(answer: subprocess.CompletedProcess[str], why: str) -> None:
    """Nothing is said to hold, and one line says why."""
    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr.startswith("error: round ")
    assert why in answer.stderr
    assert answer.stderr.count("\n") == 1


def test_second_verifier__round_as_it_was__agrees(world: World):
    assert_agrees(ask_second(world, str(world.folder / "store")))


@pytest.mark.parametrize("slash", ["", "/"])
def test_second_verifier__blocks_from_a_gateway__agrees(world: World, slash: str):
    with gateway(world.folder / "store") as url:
        assert_agrees(ask_second(world, url + slash))


@pytest.mark.parametrize(
    ("wrong", "seconds", "why"),
    [
        (has_none, 60, "HTTP status 404"),
        (sends_elsewhere, 60, "HTTP status 302"),
        (changes_a_byte, 60, "gave other bytes"),
        (never_ends, 60, "gave other bytes"),
        (drips, 3, "TimeoutError"),
    ],
)
def test_second_verifier__gateway_with_something_wrong__refuses_in_one_line(
    world: World, wrong: Answer, seconds: int, why: str
):
    with gateway(world.folder / "store", wrong) as url:
        assert_refuses(ask_second(world, url, seconds=seconds), why)


def test_second_verifier__nobody_at_the_gateway__refuses_in_one_line(world: World):
    assert_refuses(ask_second(world, "http://127.0.0.1:1"), "Connection refused")


def test_second_verifier__round_that_is_not_final__names_those_that_are(world: World):
    assert_refuses(ask_second(world, str(world.folder / "store"), number=7), "these are: [1]")


@pytest.mark.parametrize("event", ["RoundOpened", "ValidatorJoined", "StakeChanged", "RoundClosed", "RoundFinalised"])
def test_second_verifier__begun_above_an_event_that_it_needs__says_so(world: World, event: str):
    module, contract = second_verifier(), world.wallet.deployment.rounds
    above = module.history(world.w3, contract, 0)[event][0]["at"][0] + 1

    with pytest.raises(ValueError, match=f"block {above} is above the DAO's first"):
        list(module.checks(world.w3, contract, 1, above, str(world.folder / "store")))


def test_second_verifier__from_block__too_late_is_one_line_and_the_dao_s_first_agrees(world: World):
    store, first = str(world.folder / "store"), world.wallet.deployment.block
    joined = second_verifier().history(world.w3, world.wallet.deployment.rounds, 0)["ValidatorJoined"][0]["at"][0]

    late = ask_second(world, store, 1, 60, "--from-block", str(joined + 1))

    assert_refuses(late, f"block {joined + 1} is above the DAO's first")
    assert_agrees(ask_second(world, store, 1, 60, "--from-block", str(first)))


def test_second_verifier__blocks_changed_on_their_way__are_refused_in_one_line(
    world: World, case: Case, tmp_path: Path
):
    digest = case.attestation.evidence.hex()
    liar = tmp_path / "blocks" / digest[:2] / digest
    liar.parent.mkdir(parents=True)
    liar.write_bytes(case.evidence.to_bytes().replace(b'"pool"', b'"Pool"'))
    assert_refuses(ask_second(world, str(tmp_path)), "gave other bytes")


@pytest.mark.parametrize(
    ("field", "change", "noticed"),
    [
        ("chain_id", 2, {"domain"}),
        ("attempt", 2, {"domain"}),
        ("seed", "00" * 32, {"domain"}),
        ("pool", 1, {"domain"}),
        ("earnings", [], {"trees", "earnings"}),
        ("contributor", "0x" + "22" * 20, {"contributions", "trees", "earnings"}),
        ("included", False, {"included"}),
        ("raw", -(10**12), {"trees", "payouts"}),
        ("payable", 10**17, {"trees", "payouts"}),
        ("status", 2, {"trees"}),
        ("paid", 1, {"payouts", "earnings", "totals"}),
        ("size", 1, {"contributions", "trees"}),
    ],
)
def test_second_verifier__one_thing_changed__is_noticed(
    world: World, case: Case, field: str, change: object, noticed: set[str]
):
    tampered = json.loads(case.evidence.to_bytes())
    paid = next(line for line in tampered["contributions"] if line["paid"])
    (tampered if field in tampered else paid)[field] = change
    module = second_verifier()
    genuine, evidence = module.document, case.attestation.evidence
    module.document = lambda source, digest: tampered if digest == evidence else genuine(source, digest)
    contract, store = world.wallet.deployment.rounds, str(world.folder / "store")
    found = module.checks(world.w3, contract, 1, 0, store)
    assert noticed <= {words.split(":")[0] for words, ok in found if not ok}


@pytest.mark.parametrize(
    ("field", "kind", "noticed"),
    [
        ("attempt", bool, "domain"),
        ("attempt", float, "domain"),
        ("round", bool, "domain"),
        ("chain_id", float, "domain"),
        ("pool", float, "domain"),
        ("included", int, "included"),
        ("included", float, "included"),
        ("paid", float, "payouts"),
        ("payable", float, "payouts"),
        ("id", bool, "contributions"),
        ("key_epoch", bool, "contributions"),
        ("size", float, "contributions"),
        ("earnings", float, "earnings"),
    ],
)
def test_second_verifier__the_same_number_of_another_type__is_noticed(
    world: World, case: Case, field: str, kind: type, noticed: str
):
    """Python holds 1, 1.0 and True for equal; those who read the document in another language do not."""
    tampered = json.loads(case.evidence.to_bytes())
    place = tampered if field in tampered else tampered["contributions"][0]
    place[field] = [[who, kind(much)] for who, much in place[field]] if field == "earnings" else kind(place[field])
    assert tampered == json.loads(case.evidence.to_bytes())
    module = second_verifier()
    genuine, evidence = module.document, case.attestation.evidence
    module.document = lambda source, digest: tampered if digest == evidence else genuine(source, digest)
    module.root = lambda kinds, leaves: bytes(32)  # whose encoder refuses some of these types before anything is said
    found = module.checks(world.w3, world.wallet.deployment.rounds, 1, 0, str(world.folder / "store"))

    assert noticed in {words.split(":")[0] for words, ok in found if not ok}


def test_second_verifier__bundle_of_several_blocks__is_read_whole_and_strictly(tmp_path: Path):
    module, store = second_verifier(), LocalStore(tmp_path)
    large = {"text": "x" * 3_000_000, "total": 10**30}
    canonical = json.dumps(large, sort_keys=True, separators=(",", ":")).encode()

    assert module.document(str(tmp_path), store.put(canonical).digest) == large
    with pytest.raises(ValueError, match="is not canonical JSON"):
        module.document(str(tmp_path), store.put(canonical.replace(b",", b", ")).digest)


@pytest.mark.parametrize(
    ("name", "field", "change", "noticed"),
    [
        ("Attested", "signature", lambda old: old[:40] + bytes([old[40] ^ 1]) + old[41:], {"quorum"}),
        ("ValidatorJoined", "signer", lambda old: "0x" + "11" * 20, {"quorum"}),
        ("RoundClosed", "seedBlock", lambda old: old + 1, {"seed", "domain"}),
        ("RoundClosed", "pool", lambda old: old * 2, {"domain", "payouts"}),
        ("ContributionSubmitted", "size", lambda old: old + 1, {"contributions"}),
        ("AvailabilityReported", "bitmap", lambda old: bytes(len(old)), {"included", "trees"}),
        ("AvailabilityReported", "attempt", lambda old: old + 1, {"included", "trees"}),
    ],
)
def test_second_verifier__chain_that_says_another_thing__is_noticed(
    world: World, name: str, field: str, change: Callable[[Any], Any], noticed: set[str]
):
    module = second_verifier()
    genuine = module.history

    def other(*where: Any) -> dict[str, list[dict[str, Any]]]:
        told = genuine(*where)
        assert told[name]
        return {**told, name: [{**event, field: change(event[field])} for event in told[name]], "SeedRearmed": []}

    module.history = other
    contract, store = world.wallet.deployment.rounds, str(world.folder / "store")
    found = module.checks(world.w3, contract, 1, 0, store)
    assert noticed == {words.split(":")[0] for words, ok in found if not ok} - {"totals", "earnings"}


def test_second_verifier__weights_that_do_not_add_up_to_the_round_s__are_refused(world: World):
    module = second_verifier()
    genuine = module.history

    def other(*where: Any) -> dict[str, list[dict[str, Any]]]:
        told = genuine(*where)
        return {**told, "StakeChanged": [{**event, "weight": 1} for event in told["StakeChanged"]]}

    module.history = other
    with pytest.raises(ValueError, match="the weights of events from there on are not all"):
        list(module.checks(world.w3, world.wallet.deployment.rounds, 1, 0, str(world.folder / "store")))


# What comes last changes the world of this file.


def test_second_verifier__an_operator_left_and_came_back_with_another_key__old_rounds_hold_by_the_old_one(world: World):
    name = world.names[-1]
    wallet = open_wallet(world.home(name))
    request_exit(wallet)
    world.chain.advance(2 * LONG["exit_seconds"])
    stake = withdraw(wallet)
    other = LocalSigner(token_bytes(32))
    join(wallet, world.keys[name].hpke_key, stake, other)
    world.chain.mine(3)
    assert wallet.contracts.validators.validator(wallet.signer.address).signer == other.address
    assert_agrees(ask_second(world, str(world.folder / "store")))
