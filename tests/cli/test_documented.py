"""The guides' commands as one story: a contributor, an auditor, a steward and an operator type what the documents show.

Only what stands for the reader's own (an address, a number, a file) is put in; all else is run as it is written.
"""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle
from pathlib import Path

import pytest

from tests.cli.commands import Outcome, Zygote, environment
from tests.cli.test_walkthrough import PARAMETERS as FOUNDING
from tests.cli.test_walkthrough import get, tighten, wait_for
from tests.documented import said
from tests.support import CLEAN, COIN, NOISE, World, signed_file
from validator.actions.connect import open_wallet
from validator.actions.home import create_keys, write_config
from validator.audit.case import to_attestation
from validator.demo.dao import PARAMETERS, STAKE
from validator.demo.processes import Processes, free_port
from validator.stages.round import tick

FIRST, SECOND = "validator-1", "validator-2"


class Site(World):
    """A DAO of two validators, and a shell in its folder for everybody."""

    zygote: Zygote
    processes: Processes

    def write_dao(self, folder: Path) -> None:
        super().write_dao(folder)
        tighten(folder / "manifest.toml")

    def new_home(self, name: str, *, keys: bool = True) -> str:
        """A home that knows chain, content and contract, perhaps with keys and coin; returns its address, or ""."""
        write_config(self.home(name), rpc=self.chain.url, content=f"local:{self.folder / 'store'}", **self.options)
        self._point(name)
        if not keys:
            return ""
        create_keys(self.home(name), light=True)
        return self.coin_for(name)

    def coin_for(self, name: str) -> str:
        """Coin for gas; returns the address."""
        address = str(json.loads(self.ask(name, said("keys show"), "--json").out)["address"])
        self.pay(address, 10 * COIN)
        return address

    def ask(self, name: str, words: list[str], *more: str) -> Outcome:
        """A command in the shell of one party."""
        return self.zygote(*words, *more, env={"VALIDATOR_HOME": str(self.folder / name)})

    def type(self, name: str, words: list[str], *more: str) -> str:
        """The same, which must succeed; returns what it prints."""
        return self.ask(name, words, *more).answered()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("life"), validators=2, capacity=2, max_attempts=1)
    made.processes = Processes(made.folder)
    try:
        with Zygote(made.folder) as made.zygote:
            yield made
    finally:
        made.processes.stop()
        made.close()


@pytest.fixture
def stopped(site: Site, scored: int) -> None:
    """The validators' processes have ended, and their homes can be used by others."""
    site.processes.stop()


@pytest.fixture(scope="module")
def scored(site: Site) -> int:
    """Both validators run, and round 1 is final; returns the port of a validator's gateway."""
    folder = site.folder
    site.type(FIRST, said("announce https://validator.example.org"))
    assert site.type(FIRST, said('announce ""')) == "taken back\n"
    assert "FAIL" not in site.type(FIRST, said("check"))
    port, gateway = free_port(), free_port()
    with (folder / SECOND / "validator.toml").open("a") as file:
        file.write(f"peer_port = {gateway}\n")
    for name, words in {FIRST: said("run"), SECOND: said("run --port 8780", {"8780": port})}.items():
        homes = environment(folder, {"VALIDATOR_HOME": str(folder / name)})
        site.processes.start(name, *words, environment=homes)

    site.new_home("contributor", keys=False)
    site.type("contributor", said("keys create"))
    site.coin_for("contributor")
    site.contribute(NOISE)
    (folder / "mine.safetensors").write_bytes(site.payload(CLEAN))
    assert "contribution 2, round 1: " in site.type("contributor", said("contribute mine.safetensors --wait"))
    site.processes.check()
    wait_for("the explorer", lambda: get(port, "/ready")[0] == 200)
    assert get(port, "/api/rounds/1")[0] == 200
    return gateway


def test_contributor__looks_up_claims_and_settles(site: Site, scored: int) -> None:
    assert "contribution 2, round 1: improves the model" in site.type("contributor", said("score 41", {"41": 2}))
    assert "2" in site.type("contributor", said("score --mine"))
    site.type("contributor", said("claim"))
    assert "returned" in site.type("contributor", said("settle 41", {"41": 2}))


def test_auditor__at_every_level_with_and_without_grants(site: Site, scored: int) -> None:
    folder, home = site.folder, site.folder / ".poc-auditor"
    site.new_home(home.name, keys=False)
    place: dict[str, object] = {"~/.poc-auditor": home}
    site.type("contributor", said("keys create --home ~/.poc-auditor", place))
    shown = json.loads(site.type("contributor", said("keys show --home ~/.poc-auditor", place), "--json"))
    for words in (
        said("audit 1 --level 1"),
        said("audit 1 --level 2 --json"),
        said("audit 1-5 --level 2", {"1-5": "1"}),
        said("audit --all --level 1 --json"),
    ):
        assert "NO MATCH" not in site.type(home.name, words)

    key: dict[str, object] = {"$HPKE_KEY": shown["hpke_key"]}
    assert "ask the DAO's steward for a grant" in site.ask(home.name, said("audit 1")).refused()
    site.type(FIRST, said('audit grant 7 --hpke-key "$HPKE_KEY" --out round-7.json', {**key, "7": 1}))
    assert site.type(home.name, said("audit 7 --grant round-7.json", {"7": 1})).rstrip().endswith("match")
    site.type("steward", said('dao grant "$AUDITOR" --hpke-key "$HPKE_KEY"', {**key, "$AUDITOR": shown["address"]}))
    site.chain.mine(3)
    assert site.type(home.name, said("audit 1")).rstrip().endswith("match")
    at_home: dict[str, object] = {"$AUDITOR_HOME": home}
    assert "round 1" in site.type("contributor", said('score 4 --home "$AUDITOR_HOME"', {**at_home, "4": 2}))
    assert "NO MATCH" not in site.type("contributor", said('audit 1 --home "$AUDITOR_HOME"', at_home))

    site.type(home.name, said("audit 1 --level 2 --report round-1.json"))
    told = site.type("contributor", said("audit verify-report round-1.json"))
    assert shown["address"].lower() in told
    told = site.type("contributor", said("audit verify-report round-1.json --offline"))
    assert "not checked against the chain" in told

    places: dict[str, object] = {
        "http://127.0.0.1:8545": site.chain.url,
        "$SCORING_ROUNDS": site.wallet.deployment.rounds,
        "gateway:http://127.0.0.1:8080": f"gateway:http://127.0.0.1:{scored}",
    }
    everything = said(
        'audit --all --from-chain --rpc http://127.0.0.1:8545 --contract "$SCORING_ROUNDS" --content '
        "gateway:http://127.0.0.1:8080",
        places,
    )
    one = said(
        'audit 1 --from-chain --rpc http://127.0.0.1:8545 --contract "$SCORING_ROUNDS" --content '
        "gateway:http://127.0.0.1:8080",
        places,
    )
    nobody = {"HOME": str(folder / "nowhere")}
    for words in (everything, one):
        assert "NO MATCH" not in site.zygote(*words, env=nobody).answered()


def test_steward__founds_publishes_and_keeps_a_dao(site: Site, scored: int) -> None:
    folder, deployment = site.folder, site.wallet.deployment
    write_config(site.home("founder"), rpc=site.chain.url, content=f"local:{folder / 'store'}", **site.options)
    create_keys(site.home("founder"), light=True)
    founder = site.coin_for("founder")
    (folder / "parameters.toml").write_text(FOUNDING)
    tokens: dict[str, object] = {"$STAKE_TOKEN": deployment.stake_token, "$REWARD_TOKEN": deployment.reward_token}
    founding = said(
        'dao init --stake-token "$STAKE_TOKEN" --reward-token "$REWARD_TOKEN" --parameters parameters.toml', tokens
    )
    rounds = json.loads(site.type("founder", founding, "--json", "--light"))["rounds"]
    with (folder / "founder" / "validator.toml").open("a") as file:
        file.write(f'contract = "{rounds}"\n')
    shutil.copytree(folder / "dao", folder / "manifest-folder")
    site.type("founder", said("dao publish manifest-folder"), "--light")
    site.wallet.sender.send(site.wallet.token(deployment.reward_token).mint(founder, 1000 * COIN), intent="founder")
    site.type("founder", said("dao fund 1000000000000000000000"))
    assert founder in site.type("founder", said("dao show"))
    assert "epoch 2" in site.type("founder", said("dao rotate-key"), "--light")
    assert "0 deposits forfeited" in site.type("steward", said("dao collect 7", {"7": 1}))
    (folder / "changes.toml").write_text(f"deposit = {PARAMETERS.deposit + 1}\n")
    assert "deposit" in site.type("founder", said("dao set-parameters changes.toml"))
    assert site.type("founder", said("dao pause")) == "submissions are stopped\n"
    assert site.type("founder", said("dao unpause")) == "submissions are taken\n"


def test_operator__joins_keeps_its_history_and_leaves(site: Site, scored: int) -> None:
    folder, home = site.folder, "newcomer"
    site.new_home(home, keys=False)
    key = folder / "private-key.txt"
    key.write_text(secrets.token_hex(32) + "\n")
    key.chmod(0o600)
    site.type(home, said("keys import private-key.txt"), "--light")
    place: dict[str, object] = {"$OPERATOR": site.coin_for(home)}
    site.type("steward", said('dao admit "$OPERATOR"', place))
    for _ in range(2):
        site.type("steward", said('dao mint "$OPERATOR" 10000000000000000000000 --token stake', place))
    site.type(home, said("keys signing-create"), "--light")
    site.type(home, said("join 10000000000000000000000"))
    assert "key epoch 1" in site.type("steward", said('dao grant "$OPERATOR"', place))
    site.type(home, said("top-up 1000000000000000000000"))

    site.type(home, said("keys protection-rebuild --no-other-machine"))
    history = site.type(home, said("keys protection-export > history.json"))
    (folder / "history.json").write_text(history)
    (folder / home / "protection.sqlite").unlink()
    site.type(home, said("keys protection-import history.json"))
    assert site.type(home, said("keys protection-export > history.json")) == history

    site.type(home, said("exit"))
    site.chain.advance(PARAMETERS.exit_seconds + 1)
    site.type(home, said("withdraw"))
    token = site.wallet.token(site.wallet.deployment.stake_token)
    assert token.balance_of(str(place["$OPERATOR"])) == 2 * STAKE


def test_operator__looks_after_its_content_and_reports_faults_of_others(site: Site, stopped: None) -> None:
    assert "files pinned" in site.type(FIRST, said("content status"))
    assert "bytes would be freed" in site.type(FIRST, said("content gc --dry-run"))
    site.type(FIRST, said("content gc"))

    site.contribute(CLEAN, NOISE)
    number = site.wallet.contracts.rounds.current_round()
    nodes = [site.node(name) for name in site.names]
    for node in cycle(nodes):  # one tick at a time: the next one after the last commit might reveal
        info = site.wallet.contracts.rounds.round_info(number)
        if 0 < info.total_weight == info.committed_weight:
            break
        tick(node)
    for node in nodes:
        node.close()
    site.chain.advance(2_000)
    site.type("contributor", said("charge-unrevealed 7", {"7": number}))

    liar, honest = open_wallet(site.home(SECOND)), to_attestation(site.round(1).final)
    signed_file(site.folder / "first.json", liar, honest)
    signed_file(site.folder / "second.json", liar, replace(honest, scores_root=bytes(32)))
    told = site.type("contributor", said("prove-equivocation first.json second.json"))
    assert liar.signer.address in told
