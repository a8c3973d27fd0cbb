"""What an operator does on the embedded chain: follow two DAOs, lose and rebuild a history, leave and return."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support import CLEAN, NOISE, World
from validator.actions.auditor import audit_round
from validator.actions.connect import open_wallet
from validator.actions.found import TOKEN, found, read_substance, record_key
from validator.actions.home import ACCOUNT, PROTECTION, attester, create_signing_key, identifiers
from validator.actions.operator import OperatorError, join, request_exit, withdraw
from validator.actions.protection import Rebuilt, rebuild_history
from validator.actions.several import openers
from validator.actions.steward import admit, fund, grant, mint, publish, rotate_key
from validator.actions.transactions import peek
from validator.chain.errors import SignerFault
from validator.chain.signer import read_keystore
from validator.chain.types import Call
from validator.daemon import tickers_of
from validator.demo.dao import PARAMETERS, STAKE
from validator.journal import Journal, ProtectionError
from validator.rounds.lifecycle import Phase
from validator.settings import Settings
from validator.stages.node import Node
from validator.stages.round import tick
from validator.ticker import Ticker

pytestmark = pytest.mark.timeout(600)  # founding a DAO takes its time on a machine that is busy

NAME = "validator-1"
PATIENCE = 180.0
SIGNER = Path(__file__).parents[1] / "chain" / "web3signer.py"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("keys"), validators=1, capacity=2)
    yield made
    made.close()


@pytest.fixture
def start(world: World) -> Iterator[Callable[[], Node]]:
    started: list[Node] = []

    def run() -> Node:
        started.append(world.node(NAME))
        return started[-1]

    yield run
    for node in started:
        close(node)


def close(node: Node) -> None:
    node.journal.close()
    assert node.identity is not None
    node.identity.protection.close()


def lose(world: World, node: Node) -> None:
    """Signing history and journal are gone."""
    close(node)
    for file in (world.folder / NAME).glob("*.sqlite*"):
        file.unlink()


def signed(world: World, node: Node) -> list[dict[str, object]]:
    """What the signing history holds of this DAO."""
    entries = json.loads(node.identity.protection.export())["signatures"]
    return [entry for entry in entries if entry["contract"] == world.wallet.deployment.rounds.lower()]


def attested(world: World, number: int) -> list[tuple[int, bytes]]:
    return [
        (f.args["attempt"], f.args["digest"])
        for f in world.facts()
        if f.name == "Attested" and f.args["round"] == number
    ]


class Twin(World):
    """A second DAO on the chain of `world`, with the same model, and a steward of its own."""

    def __init__(self, world: World, folder: Path) -> None:
        folder.mkdir()
        (folder / "store").symlink_to(world.folder / "store")  # one content network
        self.folder, self.chain, self.w3 = folder, world.chain, world.w3
        self._journal, self._crowd, self._rng = Journal(folder / "crowd.sqlite"), world._crowd, world._rng
        self.names, self.keys = [], {}
        self.add_home("steward")
        self.wallet = found(self.home("steward"), replace(PARAMETERS, max_contributions=2), None, "finalized")
        self._point("steward")
        self.steward = self.home("steward")
        rotate_key(self.wallet, self.steward, light=True)
        publish(self.wallet, read_substance(world.folder / "dao"), record_key(self.steward, light=True))
        token = self.wallet.token(self.wallet.deployment.reward_token)
        self.wallet.sender.send(token.mint(self.wallet.signer.address, 10_000 * TOKEN), intent="mint-reward")
        fund(self.wallet, 10_000 * TOKEN)


def admit_to(twin: World, settings: Settings) -> None:
    """Let the home of `settings` join `twin` too, with the keys that it has."""
    keys = identifiers(settings)
    mint(twin.wallet, twin.wallet.deployment.stake_token, keys.address, STAKE)
    admit(twin.wallet, keys.address)
    join(open_wallet(settings.model_copy(update={"contract": twin.wallet.deployment.rounds})), keys.hpke_key, STAKE)
    grant(twin.wallet, twin.steward, keys.address, keys.hpke_key, [1])


def test_several__two_daos_and_one_that_is_none__both_rounds_end_with_one_key_and_no_nonce_twice(
    world: World, tmp_path: Path
):
    settings = world.home(NAME)
    twin = Twin(world, tmp_path / "twin")
    admit_to(twin, settings)
    numbers = [(dao, dao.wallet.contracts.rounds.current_round()) for dao in (world, twin)]
    contracts = [world.wallet.deployment.rounds, twin.wallet.deployment.rounds, "0x" + "de" * 20]
    several = settings.model_copy(update={"contract": ",".join(contracts)})
    first = world.w3.eth.get_transaction_count(world.keys[NAME].address)
    for dao, _ in numbers:
        dao.contribute(CLEAN, NOISE)
    tickers = tickers_of(openers(several, dry_run=False), 0.2)
    over = threading.Event()

    def run(ticker: Ticker) -> None:
        while not over.wait(0.05):
            ticker.run()

    threads = [threading.Thread(target=run, args=(ticker,)) for ticker in tickers]
    for thread in threads:
        thread.start()
    try:
        twin.play([], lambda: all(dao.is_final(number) for dao, number in numbers), seconds=PATIENCE)
    finally:
        over.set()
        for thread in threads:
            thread.join(60)
    for dao, number in numbers:
        assert len(attested(dao, number)) == 1
    rows = tickers[0].node.transactions.query("SELECT nonce, outcome FROM intents ORDER BY nonce")
    used = [nonce for nonce, outcome in rows if outcome != "displaced"]
    assert used == list(range(min(used), min(used) + len(used)))
    assert max(used) >= first + 8  # two reports, commits and attestations, and what else was this node's turn
    assert tickers[2].opened is None
    assert "0x" + "de" * 20 in tickers[2].health.last_error.lower()
    assert all((world.folder / NAME / f"journal-{contract.lower()}.sqlite").exists() for contract in contracts[:2])
    assert peek(world.folder / NAME / "journal.sqlite", "SELECT * FROM intents WHERE outcome IS NULL") == []
    for ticker in tickers:
        if ticker.opened is not None:
            ticker.close()


def test_rebuild__committed_but_not_revealed__reveals_what_it_had_committed_to(world: World, start: Callable[[], Node]):
    number = world.wallet.contracts.rounds.current_round()
    world.contribute(CLEAN, NOISE)
    node = start()
    world.play([node], lambda: bool(world.round(number).commits), PATIENCE)
    committed = signed(world, node)
    lose(world, node)
    with pytest.raises(ProtectionError, match="protection-rebuild"):
        start()
    made = rebuild_history(world.home(NAME))
    assert made.blocked == 0
    again = start()
    assert signed(world, again) == committed
    world.play([again], lambda: world.is_final(number), PATIENCE)
    assert [attempt for attempt, _ in attested(world, number)] == [1]


def test_rebuild__attempt_is_open__signs_nothing_for_it_and_answers_the_next(world: World, start: Callable[[], Node]):
    number = world.wallet.contracts.rounds.current_round()
    world.contribute(CLEAN, NOISE)
    node = start()
    world.play([node], lambda: world.round(number).phase(0) >= Phase.REPORTING, PATIENCE)
    lose(world, node)
    assert rebuild_history(world.home(NAME)) == Rebuilt(proven=number - 1, blocked=1)
    again = start()
    world.play([again], lambda: again.journal.step(number, 1, "scored") is not None, PATIENCE)
    for _ in range(3):
        tick(again)
    assert not world.round(number).commits
    world.chain.advance(2_000)  # the attempt runs out, and another begins
    world.play([again], lambda: world.is_final(number), PATIENCE)
    assert [attempt for attempt, _ in attested(world, number)] == [2]


def test_rebuild__history_is_there__is_kept_and_completed(world: World, start: Callable[[], Node]):
    node = start()
    before = node.identity.protection.export()
    with pytest.raises(ProtectionError, match="another validator"):
        rebuild_history(world.home(NAME))
    close(node)
    rebuild_history(world.home(NAME))
    assert start().identity.protection.export() == before


def test_join__left_and_comes_back__needs_a_new_signing_key_and_the_same_home_serves(
    world: World, start: Callable[[], Node]
):
    wallet = open_wallet(world.home(NAME))
    request_exit(wallet)
    world.chain.advance(10_000)
    withdraw(wallet)
    mint(world.wallet, world.wallet.deployment.stake_token, wallet.signer.address, STAKE)
    keys = world.keys[NAME]
    with pytest.raises(OperatorError, match="validator keys signing-create"):
        join(wallet, keys.hpke_key, STAKE, attester(world.home(NAME)))
    fresh = create_signing_key(world.home(NAME), light=True)
    join(wallet, keys.hpke_key, STAKE, attester(world.home(NAME)))
    assert wallet.contracts.validators.signer_of(wallet.signer.address) == fresh
    number = world.wallet.contracts.rounds.current_round()
    world.contribute(CLEAN, NOISE)
    world.play([start()], lambda: world.is_final(number), PATIENCE)
    verdict = audit_round(world.wallet, world.home(NAME), number, 1)
    assert verdict.match, verdict.to_dict()


def test_run__keys_are_in_a_remote_signer__plays_a_round_through_its_restart(
    world: World, start: Callable[[], Node], tmp_path: Path
):
    home = world.folder / NAME
    secret = read_keystore(home / ACCOUNT, (home / "password").read_text().strip())
    port = 0

    def serve() -> subprocess.Popen[str]:
        words = [sys.executable, str(SIGNER), secret.hex(), "", str(port)]
        return subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=Path.cwd())

    process = serve()
    try:
        port = int(process.stdout.readline().split()[1])
        shutil.move(home / ACCOUNT, tmp_path / "offline.json")
        with (home / "validator.toml").open("a") as file:
            file.write(f'signer_url = "http://127.0.0.1:{port}"\nsigner_address = "{world.keys[NAME].address}"\n')
        number = world.wallet.contracts.rounds.current_round()
        world.contribute(CLEAN, NOISE)
        node = start()
        world.play([node], lambda: bool(world.round(number).reports), PATIENCE)
        process.kill()
        process.communicate()
        with pytest.raises(SignerFault, match="connection refused"):
            node.identity.sender.send(Call(world.keys[NAME].address, b""), intent="nothing")
        tick(node)  # the node goes on, and signs nothing
        process = serve()
        process.stdout.readline()
        world.play([node], lambda: world.is_final(number), PATIENCE)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert len(attested(world, number)) == 1
    assert not (home / PROTECTION).with_suffix(".new").exists()
