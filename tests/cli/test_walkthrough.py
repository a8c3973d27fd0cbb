"""A new user's way with nothing but commands: a chain, a DAO, a validator, contributions, scores, a claim, audits.

What has no command is done from outside, as it would be elsewhere: coin comes from whoever holds it.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli.commands import Outcome, Zygote, command, environment, validator
from validator.actions.connect import open_sender
from validator.chain.contracts.token import Token
from validator.chain.rpc import connect
from validator.chain.signer import LocalSigner
from validator.chain.types import Call
from validator.demo.crowd import Crowd, load_digits, split
from validator.demo.dao import write_folder
from validator.demo.processes import free_port
from validator.journal import Journal
from validator.payload import encode_safetensors
from validator.settings import load_settings

PATIENCE, STOPPING = 90.0, 15.0
COIN = 10**18
STAKE = 10_000 * COIN
PARAMETERS = """\
open_seconds = 3600
report_seconds = 300
commit_seconds = 600
attest_seconds = 600
exit_seconds = 4500
max_contributions = 2
"""
PARTIES = ("steward", "operator", "honest", "noisy", "auditor")


@dataclass
class Site:
    """A user's machine: a folder with everybody's home, and what was started there."""

    folder: Path
    zygote: Zygote
    rpc: str = ""
    contract: dict[str, Any] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)
    started: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def shell(self, name: str, words: str) -> Outcome:
        """One command of a party, as its shell starts it."""
        return validator(self.folder, *words.split(), "--home", name)

    def run(self, name: str, words: str) -> Outcome:
        """The same from a process that has loaded the program already."""
        return self.zygote(*words.split(), "--home", str(self.folder / name))

    def start(self, name: str, *arguments: str) -> Path:
        """A command that goes on until it is stopped; returns the file of its output."""
        path = self.folder / f"{name}.log"
        with path.open("wb") as log:
            process = subprocess.Popen(
                command(*arguments),
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=environment(self.folder, {"PYTHONFAULTHANDLER": "1"}),
            )
        self.started[name] = process
        return path

    def stop(self, name: str) -> int:
        """SIGTERM, and the exit code; fails with the stacks of all threads if it does not end."""
        process = self.started.pop(name)
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(STOPPING)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGABRT)
            process.wait()
            raise AssertionError(f"{name} did not end:\n{self.log(name)[-6000:]}") from None

    def close(self) -> None:
        for process in self.started.values():
            process.kill()
            process.wait()

    def give(self, account: str, amount: int) -> None:
        """Coin from the first of the chain's public accounts."""
        secret = bytes.fromhex(self.log("chain").splitlines()[1].split()[1][2:])
        w3, journal = connect(self.rpc), Journal(self.folder / "bank.sqlite")
        bank = open_sender(load_settings(self.folder / "steward", poll_seconds=0.1), w3, LocalSigner(secret), journal)
        bank.send(Call(account, b"", amount), intent=f"give/{account}")
        journal.close()

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()


def wait_for(what: str, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come about in time"
        time.sleep(0.2)


def get(port: int, path: str) -> tuple[int, Any]:
    """Status and JSON of one page; status 0 while nobody listens."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, None
    except OSError:
        return 0, None


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, run: Zygote) -> Iterator[Site]:
    """A chain that runs, and a home with keys and coin for everybody."""
    made = Site(tmp_path_factory.mktemp("site"), run)
    try:
        port = free_port()
        made.rpc = f"http://127.0.0.1:{port}"
        made.start("chain", "devchain", "--port", str(port), "--block-seconds", "0.1")
        wait_for("the chain", lambda: made.log("chain").count("\n") == 11)
        for name in PARTIES:
            (made.folder / name).mkdir()
            options = f'rpc = "{made.rpc}"\ncontent = "local:{made.folder}/store"\n'
            (made.folder / name / "validator.toml").write_text(f"{options}poll_seconds = 0.2\nstagger_seconds = 0\n")
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def parts() -> Any:
    return split(load_digits(), 0)


@pytest.fixture(scope="module")
def founded(site: Site, parts: Any) -> Site:
    """The DAO is there, with its second key epoch, its manifest and a funded pool."""
    site.addresses["steward"] = site.shell("steward", "keys create --light --json").json()["address"]
    for name in PARTIES[1:]:
        site.addresses[name] = site.run(name, "keys create --light --json").json()["address"]
    for address in site.addresses.values():
        site.give(address, COIN)
    (site.folder / "parameters.toml").write_text(PARAMETERS)
    founding = "dao init --dev-tokens --light --json --parameters parameters.toml"
    site.contract = site.shell("steward", founding).json()
    for name in PARTIES:
        with (site.folder / name / "validator.toml").open("a") as file:
            file.write(f'contract = "{site.contract["rounds"]}"\n')
    assert site.run("steward", "dao rotate-key --light --json").json()["epoch"] == 2
    write_folder(site.folder / "dao", parts, 0, lambda done, total: None)
    tighten(site.folder / "dao" / "manifest.toml")
    assert site.run("steward", f"dao publish {site.folder}/dao --light --json").json()["name"] == "digits"
    site.run("steward", f"dao mint {site.addresses['steward']} {500 * COIN} --token reward").answered()
    assert "500" in site.run("steward", f"dao fund {500 * COIN}").answered()
    return site


def payload(parts: Any, count: int) -> bytes:
    """`count` correctly labelled records that the DAO has not seen."""
    return encode_safetensors(parts.pool.inputs[:count], parts.pool.targets[:count])


def tighten(manifest: Path) -> None:
    """Set the limit so that the largest payload fits, and its envelope does not; and judge with more replicas, paying
    for any gain, so that no seed of a round, which nobody can choose, leaves the useful contribution unpaid.
    """
    limit = len(encode_safetensors(np.zeros((128, 64), np.float32), np.zeros(128, np.int64))) + 16
    text = manifest.read_text()
    for old, new in {
        "envelope_bytes = 65536": f"envelope_bytes = {limit}",
        "replicas = 8": "replicas = 12",
        "kappa_milli = 1000": "kappa_milli = 0",
    }.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    manifest.write_text(text)


@pytest.fixture(scope="module")
def joined(founded: Site) -> Site:
    """The operator has joined and holds both key epochs; its validator runs."""
    site, address = founded, founded.addresses["operator"]
    assert "not admitted" in site.run("operator", f"join {STAKE}").refused()
    assert site.run("steward", f"dao admit {address}").answered() == f"{address} may join\n"
    site.run("steward", f"dao mint {address} {STAKE} --token stake").answered()
    assert site.shell("operator", f"join {STAKE} --json").json() == {"operator": address, "stake": STAKE}
    assert "key epoch 1, 2" in site.run("steward", f"dao grant {address}").answered()
    site.start("validator", "run", "--home", "operator", "--port", str(web_port(site)))
    return site


def web_port(site: Site) -> int:
    path = site.folder / "port"
    if not path.exists():
        path.write_text(str(free_port()))
    return int(path.read_text())


@pytest.fixture(scope="module")
def scored(joined: Site, parts: Any) -> Site:
    """Round 1 is final: one contribution of use, one of noise."""
    site = joined
    (site.folder / "good").write_bytes(payload(parts, 40))
    done = site.shell("honest", "contribute good --json").json()
    assert done == {**done, "id": 1, "records": 40}
    noise = Crowd(parts, 0)._noise()
    header = ",".join([*(f"pixel{number}" for number in range(64)), "digit"])
    rows = np.column_stack([noise.inputs.astype(float), noise.targets])
    np.savetxt(site.folder / "noise.csv", rows, "%.17g", ",", header=header, comments="")
    assert "validator score 2" in site.run("noisy", f"contribute {site.folder}/noise.csv --label digit").answered()

    def final() -> bool:
        assert site.started["validator"].poll() is None, site.log("validator")
        outcome = site.run("honest", "score 1 --json")
        return outcome.code == 0 and outcome.json()["phase"] == "finalised"

    wait_for("round 1", final)
    return site


def test_contribute__payload_whose_envelope_is_too_large__is_refused(joined: Site, parts: Any):
    (joined.folder / "large").write_bytes(payload(parts, 128))
    assert "leave records out" in joined.run("honest", f"contribute {joined.folder}/large").refused()


def test_score__of_a_useful_contribution__says_what_it_is_paid(scored: Site):
    told = scored.shell("honest", "score 1").answered()
    assert "contribution 1, round 1: improves the model; paid" in told
    assert "40 records scored" in told


def test_score__of_noise__says_why_it_is_not_paid(scored: Site):
    answer = scored.run("noisy", "score 2 --json").json()
    assert answer["status"] == "below_noise"
    assert answer["paid"] == 0
    assert answer["words"]


def test_claim__by_who_earned_it__pays_once_and_by_who_did_not__nothing(scored: Site):
    honest = scored.addresses["honest"]
    paid = scored.run("honest", "score 1 --json").json()["paid"]
    assert paid > 0
    assert "nothing to claim" in scored.run("noisy", "claim").refused()
    answer = scored.shell("honest", "claim --json").json()
    assert (answer["account"], answer["amount"]) == (honest, paid)
    assert Token(connect(scored.rpc), scored.contract["reward_token"]).balance_of(honest) == paid
    assert "nothing to claim" in scored.run("noisy", f"claim {honest}").refused()


def test_audit__each_level__matches_and_the_data_only_with_a_grant(scored: Site):

    def audit(level: int) -> Outcome:
        return scored.run("auditor", f"audit 1 --level {level} --json")

    for level in (1, 2):
        verdict = audit(level).json()
        assert verdict["match"] is True
        assert verdict["level"] == level
    assert "ask the DAO's steward for a grant" in audit(3).refused()
    shown = scored.run("auditor", "keys show --json").json()
    document = scored.folder / "grant.json"
    told = scored.run("operator", f"audit grant 1 --hpke-key {shown['hpke_key']} --out {document}").answered()
    assert shown["hpke_key"] in told
    alone = scored.run("auditor", f"audit 1 --level 3 --grant {document} --json").json()
    assert (alone["match"], alone["level"]) == (True, 3)
    assert "is for the HPKE key" in scored.run("honest", f"audit 1 --level 3 --grant {document}").refused()
    grant = f"dao grant {shown['address']} --hpke-key {shown['hpke_key']}"
    assert shown["address"] in scored.run("steward", grant).answered()
    wait_for("the grant", lambda: audit(3).code == 0)
    assert audit(3).json()["match"] is True
    told = scored.shell("auditor", "audit 1").answered()
    assert told.rstrip().endswith("match")
    assert "NO MATCH" not in told


def test_run__with_a_port__serves_the_explorer_and_its_health(scored: Site):
    port = web_port(scored)
    assert get(port, "/health")[0] == 200
    assert get(port, "/api/rounds/1")[1]["round"] == 1


def test_web__without_any_key__serves_the_explorer_until_it_is_told_to_stop(scored: Site):
    port = free_port()
    place = ["--rpc", scored.rpc, "--contract", scored.contract["rounds"], "--content", f"local:{scored.folder}/store"]
    scored.start("web", "web", "--home", "nobody", *place, "--port", str(port))
    wait_for("the explorer", lambda: get(port, "/ready")[0] == 200)
    assert get(port, "/api/contributions/1")[0] == 200
    assert scored.stop("web") == 0
    assert not (scored.folder / "nobody").exists()


def test_keys__moved_to_another_machine__take_the_signing_history_along(scored: Site):
    assert "another validator" in scored.run("operator", "keys protection-export").refused()
    assert scored.stop("validator") == 0
    history = scored.shell("operator", "keys protection-export").answered()
    assert [entry["round"] for entry in json.loads(history)["signatures"]] == [1]
    new = Path(shutil.copytree(scored.folder / "operator", scored.folder / "moved"))
    (new / "protection.sqlite").unlink()
    assert "protection-import" in scored.run("moved", "run").refused()
    (scored.folder / "history.json").write_text(history)
    assert scored.shell("moved", "keys protection-import history.json").answered() == "1 signatures imported\n"
    assert scored.run("moved", "keys protection-export").answered() == history


def test_devchain__sigterm__ends_cleanly(site: Site):
    port = free_port()
    site.start("other", "devchain", "--port", str(port))
    wait_for("the other chain", lambda: site.log("other").count("\n") == 11)
    assert f"http://127.0.0.1:{port}" in site.log("other")
    assert site.stop("other") == 0
