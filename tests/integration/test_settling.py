"""Deposits, faults, stake and the steward's switches on the embedded chain, with every balance to the last unit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from itertools import cycle
from pathlib import Path

import pytest

from tests.support import CLEAN, NOISE, World, signed_file
from validator.actions.connect import Wallet, open_wallet
from validator.actions.contributor import ContributorError, claim, contribute, submit
from validator.actions.faults import FaultError, charge_unrevealed, prove_equivocation, read_signed
from validator.actions.found import TOKEN
from validator.actions.operator import OperatorError, request_exit, top_up, withdraw
from validator.actions.overview import overview
from validator.actions.settle import Fate, SettleError, collect, settle
from validator.actions.steward import StewardError, admit, grant_all, mint, pause, rotate_key, set_parameters
from validator.audit.case import to_attestation
from validator.chain.errors import Reverted
from validator.chain.typed_data import ATTESTATION
from validator.chain.types import Phase
from validator.content import Cid, LocalStore, NotFound
from validator.demo.dao import PARAMETERS, STAKE
from validator.stages.keys import granted_secrets
from validator.stages.round import tick

DEPOSIT = PARAMETERS.deposit
PAID, WORTHLESS, MALFORMED, GARBLED, LATE = range(1, 6)
"""Ids of round 1 in the world of which it is final."""


class Purse:
    """What an account gained since the purse was opened, but for the gas that it paid."""

    def __init__(self, world: World, account: str) -> None:
        self.world, self.account = world, account
        self.block = world.w3.eth.block_number
        self.held = world.w3.eth.get_balance(account, self.block)
        self.sent = world.w3.eth.get_transaction_count(account, self.block)

    def gained(self) -> int:
        eth, head = self.world.w3.eth, self.world.w3.eth.block_number
        gas = 0
        for number in range(self.block + 1, head + 1):
            for transaction in eth.get_block(number, full_transactions=True)["transactions"]:
                if transaction["from"] == self.account:
                    receipt = eth.get_transaction_receipt(transaction["hash"])
                    gas += receipt["gasUsed"] * receipt["effectiveGasPrice"]
        return eth.get_balance(self.account, head) - self.held + gas

    def transactions(self) -> int:
        return self.world.w3.eth.get_transaction_count(self.account) - self.sent


@pytest.fixture(scope="module")
def parties() -> dict[int, Wallet]:
    """The contributors of round 1, by id."""
    return {}


@pytest.fixture(scope="module")
def final(tmp_path_factory: pytest.TempPathFactory, parties: dict[int, Wallet]) -> Iterator[World]:
    """Round 1 is final: one contribution is paid, one is noise, three are spam. Round 2 is open."""
    world = World(tmp_path_factory.mktemp("final"), validators=1, capacity=5, max_attempts=1)
    try:
        sent = {id_: world.contributor() for id_ in range(1, 6)}
        contribute(sent[PAID], world.payload(CLEAN))
        contribute(sent[WORTHLESS], world.payload(NOISE))
        contribute(sent[MALFORMED], b"no safetensors")
        submit(sent[GARBLED], b"no envelope", 1)
        contribute(sent[LATE], b"nor these")
        parties.update(sent)
        node = world.node(world.names[0])
        world.play([node], lambda: world.is_final(1))
        node.journal.close()
        node.identity.protection.close()
        yield world
    finally:
        world.close()


@pytest.fixture(scope="module")
def stalled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Both validators have committed in the only attempt of round 1, and neither has revealed in time."""
    world = World(tmp_path_factory.mktemp("stalled"), validators=2, capacity=2, max_attempts=1)
    try:
        world.contribute(CLEAN, NOISE)
        nodes = [world.node(name) for name in world.names]
        for node in cycle(nodes):  # one tick at a time: the next one after the last commit might reveal
            info = world.wallet.contracts.rounds.round_info(1)
            if 0 < info.total_weight == info.committed_weight:
                break
            tick(node)
        for node in nodes:
            node.journal.close()
            node.identity.protection.close()
        world.chain.advance(2_000)
        yield world
    finally:
        world.close()


# Deposits


def test_settle__paid_contribution__returns_the_deposit_and_a_repeat_sends_nothing(
    final: World, parties: dict[int, Wallet]
):
    me = parties[PAID]
    purse = Purse(final, me.signer.address)
    done = settle(me, PAID)
    assert (done.fate, done.deposit, done.withdrawn, done.settled_now) == (Fate.RETURNED, DEPOSIT, DEPOSIT, True)
    assert "improves the model" in done.why
    assert purse.gained() == DEPOSIT
    assert purse.transactions() == 2
    again = settle(me, PAID)
    assert again == replace(done, settled_now=False, withdrawn=0)
    assert purse.transactions() == 2


def test_settle__sent_by_a_stranger_while_paused__pays_the_payer(final: World, parties: dict[int, Wallet]):
    stranger = final.contributor()
    payer, sender = Purse(final, parties[WORTHLESS].signer.address), Purse(final, stranger.signer.address)
    pause(final.wallet, paused=True)
    try:
        assert settle(stranger, WORTHLESS).fate is Fate.RETURNED
    finally:
        pause(final.wallet, paused=False)
    assert payer.gained() == DEPOSIT
    assert sender.gained() == 0


def test_collect__round_with_spam__pays_the_owner_every_forfeited_deposit_once(
    final: World, parties: dict[int, Wallet]
):
    sender, owner = Purse(final, parties[MALFORMED].signer.address), Purse(final, final.wallet.signer.address)
    done = settle(parties[MALFORMED], MALFORMED)
    assert (done.fate, done.withdrawn, sender.gained()) == (Fate.FORFEITED, 0, 0)
    assert "schema" in done.why
    collected = collect(final.wallet, 1)
    assert collected.recorded == (GARBLED, LATE)
    assert list(collected.passed_over) == [MALFORMED]
    assert (collected.amount, collected.withdrawn) == (2 * DEPOSIT, 3 * DEPOSIT)
    assert owner.gained() == 3 * DEPOSIT
    before = owner.transactions()
    again = collect(final.wallet, 1)
    assert (again.recorded, again.withdrawn, list(again.passed_over)) == ((), 0, [MALFORMED, GARBLED, LATE])
    assert owner.transactions() == before
    assert settle(final.wallet, LATE).fate is Fate.FORFEITED


def test_settle__score_not_final_or_not_there__says_what_it_waits_for(final: World):
    held, current = contribute(final.contributor(), b"not yet"), final.wallet.contracts.rounds.current_round()
    with pytest.raises(SettleError, match=f"round {current} is open"):
        settle(final.wallet, held.id)
    with pytest.raises(SettleError, match="no contribution 99"):
        settle(final.wallet, 99)
    with pytest.raises(SettleError, match=f"round {current} is open"):
        collect(final.wallet, current)
    with pytest.raises(SettleError, match="no round 9"):
        collect(final.wallet, 9)


# The steward


def test_pause__stops_submissions_and_nothing_else(final: World, parties: dict[int, Wallet]):
    pause(final.wallet, paused=True)
    with pytest.raises(Reverted, match="paused submissions"):
        contribute(final.contributor(), b"refused")
    with pytest.raises(Reverted, match="paused already"):
        pause(final.wallet, paused=True)
    amount, _ = claim(final.wallet, parties[PAID].signer.address)
    assert amount > 0
    pause(final.wallet, paused=False)
    with pytest.raises(Reverted, match="not paused"):
        pause(final.wallet, paused=False)
    with pytest.raises(ContributorError, match="nothing to claim"):
        claim(final.wallet, parties[PAID].signer.address)
    assert contribute(final.contributor(), b"taken again").id > LATE


def test_set_parameters__hold_from_the_next_round_on(final: World):
    contracts = final.wallet.contracts
    contribute(final.contributor(), b"so that the round can close")
    changed = replace(contracts.dao.parameters(), deposit=2 * DEPOSIT, max_attempts=2)
    assert set_parameters(final.wallet, changed) == {"deposit": (DEPOSIT, 2 * DEPOSIT), "max_attempts": (1, 2)}
    with pytest.raises(StewardError, match="changes nothing"):
        set_parameters(final.wallet, changed)
    assert contracts.rounds.submission_terms()[2] == DEPOSIT
    final.chain.advance(PARAMETERS.open_seconds)
    final.wallet.sender.send(contracts.rounds.close(), intent="close-2")
    assert contracts.rounds.parameters_of(2).deposit == DEPOSIT
    assert contracts.rounds.submission_terms()[2] == contracts.rounds.parameters_of(3).deposit == 2 * DEPOSIT
    with pytest.raises(Reverted, match="maxContributions"):
        set_parameters(final.wallet, replace(changed, max_contributions=0))
    with pytest.raises(Reverted, match="only the DAO's owner"):
        set_parameters(final.contributor(), replace(changed, deposit=1))


def test_rotate_key__grants_the_epoch_to_every_validator(final: World):
    epoch = rotate_key(final.wallet, final.steward, light=True)
    operator = final.keys[final.names[0]].address
    assert grant_all(final.wallet, final.steward, epoch) == ([operator], {})
    final.chain.mine(3)
    from validator.actions.home import hpke_secret, load_epoch

    secret = hpke_secret(final.home(final.names[0]))
    held = granted_secrets(final.facts(), final.wallet.deployment, operator, secret, {})
    assert held[epoch] == load_epoch(final.steward, epoch)


def test_admit__revoked__can_no_longer_join_and_cannot_be_revoked_twice(final: World):
    account = final.contributor().signer.address
    admit(final.wallet, account)
    assert final.wallet.contracts.dao.admitted(account)
    admit(final.wallet, account, allowed=False)
    assert not final.wallet.contracts.dao.admitted(account)
    with pytest.raises(StewardError, match="nothing to revoke"):
        admit(final.wallet, account, allowed=False)


def test_mint__development_token__every_time_and_never_of_another_contract(final: World):
    account, token = final.contributor().signer.address, final.wallet.deployment.reward_token
    for _ in range(2):
        mint(final.wallet, token, account, 7)
    assert final.wallet.token(token).balance_of(account) == 14
    with pytest.raises(StewardError, match="no development token"):
        mint(final.wallet, final.wallet.deployment.dao, account, 7)


def test_overview__agrees_with_the_contracts(final: World):
    found = overview(final.wallet)
    operator = final.keys[final.names[0]].address
    assert found["owner"] == final.wallet.signer.address
    assert found["parameters"] == asdict(final.wallet.contracts.dao.parameters())
    assert [member["operator"] for member in found["validators"]] == [operator]
    assert found["validators"][0]["stake"] == final.wallet.contracts.validators.stake_of(operator)
    assert found["pool"]["funded"] == 10_000 * TOKEN


# Faults


def test_prove_equivocation__two_signed_answers__slash_the_stake_and_reward_the_reporter(final: World, tmp_path: Path):
    validator, reporter = open_wallet(final.home(final.names[0])), final.contributor()
    operator = validator.signer.address
    token, members = final.wallet.token(final.wallet.deployment.stake_token), final.wallet.contracts.validators
    honest = to_attestation(final.round(1).final)
    files = {
        "a": signed_file(tmp_path / "a", validator, honest),
        "b": signed_file(tmp_path / "b", validator, replace(honest, scores_root=bytes(32))),
        "other": signed_file(tmp_path / "other", reporter, replace(honest, count=1)),
        "later": signed_file(tmp_path / "later", validator, replace(honest, attempt=2)),
    }
    signed = {name: read_signed(path) for name, path in files.items()}
    for pair, words in (("aa", "prove nothing"), (("a", "later"), "prove nothing"), (("a", "other"), "no validator")):
        with pytest.raises(FaultError, match=words):
            prove_equivocation(reporter, signed[pair[0]], signed[pair[1]])
    stake = members.stake_of(operator)
    done = prove_equivocation(reporter, signed["a"], signed["b"])
    taken = stake * PARAMETERS.slash_bps // 10_000
    reward = taken * PARAMETERS.reporter_bps // 10_000
    assert (done.operator, done.taken, done.reward) == (operator, taken, reward)
    assert members.stake_of(operator) == stake - taken
    assert token.balance_of(reporter.signer.address) == reward
    assert members.burned() == taken - reward
    with pytest.raises(Reverted, match="already punished"):
        prove_equivocation(reporter, signed["a"], signed["b"])


def test_top_up__twice__adds_twice_and_outsiders_are_refused_before_they_approve(final: World):
    validator, outsider = open_wallet(final.home(final.names[0])), final.contributor()
    token, address = final.wallet.deployment.stake_token, validator.signer.address
    stake = final.wallet.contracts.validators.stake_of(address)
    mint(final.wallet, token, address, 5)
    assert [top_up(validator, 2), top_up(validator, 2)] == [stake + 2, stake + 4]
    with pytest.raises(OperatorError, match="holds 1 units"):
        top_up(validator, 2)
    purse = Purse(final, outsider.signer.address)
    with pytest.raises(OperatorError, match="not a validator"):
        top_up(outsider, 1)
    assert purse.transactions() == 0


def test_faults_and_exit__commits_not_revealed__are_charged_then_reclaimed_then_left(stalled: World):
    contracts, reporter = stalled.wallet.contracts, stalled.contributor()
    token = stalled.wallet.token(stalled.wallet.deployment.stake_token)
    fee = PARAMETERS.unrevealed_fee
    share = fee * PARAMETERS.reporter_bps // 10_000
    done = charge_unrevealed(reporter, 1)
    assert [(one.taken, one.reward, one.attempt) for one in done.charged] == [(fee, share, 1)] * 2
    assert done.passed_over == {}
    assert token.balance_of(reporter.signer.address) == 2 * share
    again = charge_unrevealed(reporter, 1)
    assert (again.charged, len(again.passed_over)) == ((), 2)
    with pytest.raises(FaultError, match="no commit"):
        charge_unrevealed(reporter, 2)

    waiting = contribute(stalled.contributor(), b"for round 2").id
    with pytest.raises(SettleError, match="round 1 is stalled"):
        settle(reporter, 1)
    stalled.wallet.sender.send(contracts.rounds.retry(1), intent="retry-1")
    assert contracts.rounds.phase(1) is Phase.ABANDONED
    payer = Purse(stalled, stalled.wallet.registry.contribution(1).payer)
    reclaimed = settle(reporter, 1)
    assert (reclaimed.fate, reclaimed.withdrawn, payer.gained()) == (Fate.RETURNED, DEPOSIT, DEPOSIT)
    assert "without a score" in reclaimed.why
    assert settle(reporter, 1) == replace(reclaimed, settled_now=False, withdrawn=0)

    one = open_wallet(stalled.home(stalled.names[0]))
    with pytest.raises(Reverted, match="request the exit first"):
        withdraw(one)
    leaving = request_exit(one)
    assert (leaving.stake, leaving.asked_before) == (STAKE - fee, False)
    assert request_exit(one) == replace(leaving, asked_before=True)
    assert grant_all(stalled.wallet, stalled.steward, 1)[0] == [stalled.keys[stalled.names[1]].address]
    with pytest.raises(Reverted, match="can be withdrawn from"):
        withdraw(one)
    with pytest.raises(OperatorError, match="is leaving"):
        top_up(one, 1)
    stalled.chain.advance(PARAMETERS.exit_seconds + 1)
    assert withdraw(one) == STAKE - fee
    assert token.balance_of(one.signer.address) == STAKE - fee
    with pytest.raises(OperatorError, match="not a validator"):
        withdraw(one)

    with pytest.raises(SettleError, match="round 2 is open"):
        settle(reporter, waiting)
    request_exit(open_wallet(stalled.home(stalled.names[1])))
    assert settle(reporter, waiting).withdrawn == DEPOSIT  # nobody is left to score it


def test_settle__spam_that_nobody_recorded_in_time__is_reclaimed_with_or_without_the_evidence(tmp_path: Path):
    world = World(tmp_path, validators=1, capacity=2)
    try:
        for payload in (b"spam", b"more spam"):
            contribute(world.contributor(), payload)
        world.play([world.node(world.names[0])], lambda: world.is_final(1))
        evidence = LocalStore(tmp_path / "store")._path(Cid.from_chain(world.round(1).final["evidence"], 0))
        aside = evidence.rename(tmp_path / "aside")
        with pytest.raises(NotFound, match="does not have"):
            settle(world.wallet, 1)
        world.chain.advance(PARAMETERS.exit_seconds + 2_000)
        assert settle(world.wallet, 1).withdrawn == DEPOSIT
        aside.rename(evidence)
        assert settle(world.wallet, 2).withdrawn == DEPOSIT
        assert collect(world.wallet, 1).recorded == ()
    finally:
        world.close()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"signature": "0x12"}, "65 bytes"),
        ({"signature": 7}, "65 bytes"),
        ({"attestation": []}, "exactly the fields"),
        ({"more": 1}, "signed attestation"),
        ({"round": -1}, "round must be an integer"),
        ({"round": 2**64}, "round must be an integer"),
        ({"count": True}, "count must be an integer"),
        ({"seed": "0x12"}, "seed must be 0x and 64"),
        ({"seed": None}, "seed must be 0x and 64"),
    ],
)
def test_read_signed__not_of_the_right_form__is_named(tmp_path: Path, change: dict[str, object], named: str):
    attestation = {name: 1 if kind.startswith("uint") else "0x" + "11" * 32 for name, kind in ATTESTATION}
    document: dict[str, object] = {"attestation": attestation, "signature": "0x" + "22" * 65}
    path = tmp_path / "signed"
    path.write_text(json.dumps(document))
    assert read_signed(path).attestation.evidence == b"\x11" * 32
    for name, value in change.items():
        (attestation if name in attestation else document)[name] = value
    path.write_text(json.dumps(document))
    with pytest.raises(FaultError, match=named):
        read_signed(path)


@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b"[" * 50_000, b" " * 70_000, b"\xff"])
def test_read_signed__no_such_document__is_refused(tmp_path: Path, raw: bytes):
    path = tmp_path / "signed"
    path.write_bytes(raw)
    with pytest.raises(FaultError, match="not a signed attestation"):
        read_signed(path)
