"""Deposits, stake, faults and the steward's switches from the command line, against a live DAO."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.commands import Zygote
from tests.cli.tree import ADDRESS
from tests.support import World
from validator.actions.connect import open_wallet
from validator.actions.operator import join
from validator.actions.steward import admit, mint
from validator.demo.dao import PARAMETERS, STAKE

SECRET = "4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318"  # of a well-known example
ITS_ADDRESS = "0x2c7536E3605D9C16a7a3D7b1898e529396a65c23"


@pytest.fixture(scope="module")
def stranger(world: World) -> str:
    """A home with coin, and no part in the DAO."""
    world.add_home("stranger")
    return str(world.folder / "stranger")


@pytest.fixture
def steward(world: World) -> str:
    return str(world.folder / "steward")


def test_settle__final_contribution__returns_the_deposit_once(world: World, run: Zygote, stranger: str):
    payer = world.wallet.registry.contribution(1).payer
    before = world.w3.eth.get_balance(payer)
    answer = run("settle", "1", "--json", "--home", stranger).json()
    deposit = PARAMETERS.deposit
    assert answer == {**answer, "id": 1, "fate": "returned", "deposit": deposit, "withdrawn": deposit, "payer": payer}
    assert answer["settled_now"] is True
    assert world.w3.eth.get_balance(payer) == before + deposit
    told = run("settle", "1", "--home", stranger).answered()
    assert f"deposit of contribution 1, {deposit} wei, was, before, returned: improves the model" in told
    assert "no credit" in told
    assert world.w3.eth.get_balance(payer) == before + deposit


def test_collect__round_without_spam__says_so(run: Zygote, steward: str):
    answer = run("dao", "collect", "1", "--json", "--home", steward).json()
    assert (answer["recorded"], answer["amount"], answer["withdrawn"]) == ([], 0, 0)
    assert "0 deposits forfeited" in run("dao", "collect", "1", "--home", steward).answered()


def test_show__without_keys__tells_how_the_dao_stands(world: World, run: Zygote, folder: Path):
    place = ["--rpc", world.chain.url, "--contract", world.wallet.deployment.rounds, "--home", str(folder / "nobody")]
    answer = run("dao", "show", "--json", *place).json()
    assert answer["owner"] == world.wallet.signer.address
    assert answer["parameters"]["deposit"] == PARAMETERS.deposit
    operator = world.keys[world.names[0]].address
    assert next(one["stake"] for one in answer["validators"] if one["operator"] == operator) == STAKE
    told = run("dao", "show", *place).answered()
    assert world.wallet.signer.address in told
    assert world.wallet.contracts.dao.manifest(1).hex() in told
    assert "max_contributions" in told


def test_pause__by_the_steward__stops_submissions_until_unpause(
    world: World, run: Zygote, steward: str, stranger: str, tmp_path: Path
):
    payload = tmp_path / "payload"
    payload.write_bytes(world.payload())
    assert run("dao", "pause", "--home", steward).answered() == "submissions are stopped\n"
    try:
        assert "paused submissions" in run("contribute", str(payload), "--home", stranger).refused()
        assert run("dao", "show", "--json", "--home", stranger).json()["paused"] is True
    finally:
        assert run("dao", "unpause", "--home", steward).answered() == "submissions are taken\n"
    assert run("dao", "show", "--json", "--home", stranger).json()["paused"] is False


def test_set_parameters__file__shows_old_and_new_and_refuses_a_repeat(run: Zygote, steward: str, tmp_path: Path):
    file, fee = tmp_path / "changes.toml", PARAMETERS.unrevealed_fee
    file.write_text(f"unrevealed_fee = {fee + 1}\n")
    told = run("dao", "set-parameters", str(file), "--home", steward).answered()
    assert told == f"unrevealed_fee: {fee} -> {fee + 1}\n"
    assert "changes nothing" in run("dao", "set-parameters", str(file), "--home", steward).refused()
    file.write_text(f"unrevealed_fee = {fee}\n")
    answer = run("dao", "set-parameters", str(file), "--json", "--home", steward).json()
    assert answer == {"unrevealed_fee": {"old": fee + 1, "new": fee}}
    file.write_text("deposits = 1\n")
    assert "no parameter is called deposits" in run("dao", "set-parameters", str(file), "--home", steward).refused()


def test_admit__revoke__takes_the_admission_back(world: World, run: Zygote, steward: str):
    account = world.contributor().signer.address
    run("dao", "admit", account, "--home", steward).answered()
    assert run("dao", "admit", account, "--revoke", "--home", steward).answered() == f"{account} may no longer join\n"
    assert not world.wallet.contracts.dao.admitted(account)
    assert "nothing to revoke" in run("dao", "admit", account, "--revoke", "--home", steward).refused()


def test_mint__development_token__arrives(world: World, run: Zygote, stranger: str):
    account, token = world.contributor().signer.address, world.wallet.token(world.wallet.deployment.stake_token)
    run("dao", "mint", account, "12", "--token", "stake", "--home", stranger).answered()
    assert token.balance_of(account) == 12
    assert "--token" in run("dao", "mint", account, "12", "--home", stranger).refused(2)
    assert "--token" in run("dao", "mint", account, "12", "--token", "gold", "--home", stranger).refused(2)
    assert "not an address" in run("dao", "mint", "me", "12", "--token", "stake", "--home", stranger).refused(2)
    assert "amount" in run("dao", "mint", account, "0", "--token", "stake", "--home", stranger).refused(2).lower()


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("settle 99", "no contribution 99"),
        ("dao collect 2", "round 2 is open"),
        ("dao collect 99", "no round 99"),
        ("dao pause", "only the DAO's owner"),
        ("dao unpause", "only the DAO's owner"),
        (f"dao admit {ADDRESS} --revoke", "nothing to revoke"),
        ("top-up 1", "is not a validator"),
        ("exit", "is not a validator"),
        ("withdraw", "is not a validator"),
        ("charge-unrevealed 1", "no commit that was not revealed"),
        ("charge-unrevealed 99", "no round 99"),
        ("prove-equivocation {file} {file}", "is not a signed attestation"),
        ("dao set-parameters {file}", "is not TOML"),
    ],
)
def test_command__asks_for_what_cannot_be__is_refused(run: Zygote, stranger: str, file: str, words: str, named: str):
    assert named in run(*words.format(file=file).split(), "--home", stranger).refused()


def test_withdraw__before_exit__says_what_comes_first(world: World, run: Zygote):
    assert "request the exit first" in run("withdraw", "--home", str(world.folder / world.names[0])).refused()


def test_exit__prints_when_the_stake_is_free_and_a_repeat_prints_it_again(world: World, run: Zygote):
    name = "leaver"
    world.add_home(name)
    world.add_validator(name)
    home = str(world.folder / name)
    run("dao", "mint", world.keys[name].address, "5", "--token", "stake", "--home", home).answered()
    assert run("top-up", "5", "--json", "--home", home).json()["stake"] == STAKE + 5
    answer = run("exit", "--json", "--home", home).json()
    assert answer["stake"] == STAKE + 5
    told = run("exit", "--home", home).answered()
    assert "was leaving already" in told
    assert "UTC" in told
    assert "can be withdrawn from" in run("withdraw", "--home", home).refused()
    assert run("exit", "--json", "--home", home).json() == answer


def test_keys_import__private_key__becomes_the_account_and_is_never_overwritten(run: Zygote, tmp_path: Path):
    key, home = tmp_path / "key", tmp_path / "home"
    key.write_text(f"0x{SECRET}\n")
    key.chmod(0o640)
    assert "chmod 600" in run("keys", "import", str(key), "--light", "--home", str(home)).refused()
    assert not home.exists()
    key.chmod(0o600)
    answer = run("keys", "import", str(key), "--light", "--json", "--home", str(home)).json()
    assert answer["address"] == ITS_ADDRESS
    assert run("keys", "show", "--json", "--home", str(home)).json()["hpke_key"] == answer["hpke_key"]
    assert not (home / "protection.sqlite").exists()
    assert all(SECRET not in path.read_text(errors="replace") for path in home.rglob("*") if path.is_file())
    assert "is not overwritten" in run("keys", "import", str(key), "--light", "--home", str(home)).refused()
    shutil.move(home / "keys" / "account.json", tmp_path / "away")  # as if the first import had broken off
    assert run("keys", "import", str(key), "--light", "--json", "--home", str(home)).json() == answer


@pytest.mark.parametrize("text", ["", "0x12", "zz" * 32, SECRET + "00", "00" * 32, "ff" * 32, "é" * 40])
def test_keys_import__no_private_key__is_refused_without_a_word_of_it(run: Zygote, tmp_path: Path, text: str):
    key = tmp_path / "key"
    key.write_text(text)
    key.chmod(0o600)
    told = run("keys", "import", str(key), "--home", str(tmp_path / "home")).refused()
    assert len(text) < 5 or text not in told
    assert not (tmp_path / "home").exists()


def test_rotate_key__with_validators__grants_to_them_or_to_none(tmp_path: Path, run: Zygote):
    world = World(tmp_path, validators=1)
    try:
        home, operator = str(tmp_path / "steward"), world.keys[world.names[0]].address
        answer = json.loads(run("dao", "rotate-key", "--light", "--json", "--home", home).answered())
        assert answer == {"epoch": 2, "granted": [operator], "refused": {}}
        told = run("dao", "rotate-key", "--light", "--no-grants", "--home", home).answered()
        assert told == "key epoch 3 is published\n"
        world.chain.mine(3)
        granted = [fact.args["epoch"] for fact in world.facts() if fact.name == "KeyGranted"]
        assert granted == [1, 2]
        world.add_home("odd")
        odd = open_wallet(world.home("odd"))
        admit(world.wallet, odd.signer.address)
        mint(world.wallet, world.wallet.deployment.stake_token, odd.signer.address, STAKE)
        join(odd, b"\x01" + bytes(31), STAKE)  # a point to which nothing can be sealed
        outcome = run("dao", "rotate-key", "--light", "--json", "--home", home)
        assert outcome.code == 1
        assert json.loads(outcome.out)["granted"] == [operator]
        assert list(json.loads(outcome.out)["refused"]) == [odd.signer.address]
        assert outcome.err.startswith(f"error: not granted to all ({odd.signer.address}: ")
        assert outcome.err.endswith("`validator dao grant ADDRESS --epoch 4`\n")
    finally:
        world.close()
