"""Vana's data DAOs on a real anvil, by the commands that an operator would use.

Files are encrypted by openpgp and eccrypto from npm, as Vana's web client does, and their keys granted on chain. The
prover fetches, opens, scores and proves them, takes its fees, and has the owner paid.
"""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
import torch

from tests.cli.commands import Zygote, command, environment
from tests.documented import said
from tests.faults.anvil import Anvil
from tests.faults.tiny import RESPONSE
from tests.vana.support import COIN, FACTOR, FEE, MAINTAINER, OWNER, VanaWorld, password, payload, written
from validator.actions.vana.keys import KEY
from validator.chain.types import Call
from validator.chain.vana import JobStatus
from validator.content import Cid
from validator.rounds.evidence import parse_evidence

HOME = "prover"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VanaWorld]:
    folder = tmp_path_factory.mktemp("vana")
    chain = Anvil(folder)
    try:
        yield VanaWorld(folder, chain, estimator=RESPONSE, finality="finalized")
    finally:
        chain.stop()


@pytest.fixture(scope="module")
def run(world: VanaWorld) -> Iterator[Zygote]:
    with Zygote(world.folder) as zygote:
        yield zygote


def until_proven(world: VanaWorld, jobs: list[int]) -> str:
    """`validator vana run` until these jobs have their proofs, then SIGTERM; what it said."""
    with (world.folder / "run.log").open("w") as log:
        process = subprocess.Popen(
            command(*said("vana run"), "--home", str(world.home)),
            stdout=log, stderr=log, cwd=world.folder, env=environment(world.folder) | {"PYTHONPATH": str(Path.cwd())},
        )  # fmt: skip
        deadline = time.monotonic() + 200
        while any(world.contracts.tee_pool.job(job).status is not JobStatus.COMPLETED for job in jobs):
            assert process.poll() is None, (world.folder / "run.log").read_text()
            assert time.monotonic() < deadline, (world.folder / "run.log").read_text()
            world.chain.mine()
            time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    return (world.folder / "run.log").read_text()


@dataclass(frozen=True, slots=True)
class Played:
    """Two files that are for this prover and one that is not, their jobs in this order, and what `vana run` said."""

    files: list[int]
    foreign: int
    jobs: list[int]
    told: str


@pytest.fixture(scope="module")
def played(world: VanaWorld, run: Zygote) -> Played:
    """The first two files are proven."""
    torch.set_num_threads(1)
    words, public = password(), world.key.public
    good = written(payload(1, count=48), words, public, compress=True)
    stripped = written(payload(2, wrong=True), words, public, stripped=True)
    files = [world.add(good.file, good.keys[0]), world.add(stripped.file, stripped.keys[0])]
    foreign = world.add(good.file + b"", good.keys[0], to=world.address(MAINTAINER), url="ipfs://for-somebody-else")
    jobs = [world.request(file) for file in (*files, foreign)]
    world.chain.mine(4)
    checked = run(*said("vana check"), "--home", str(world.home), "--json").json()
    assert checked["ok"], checked
    told = until_proven(world, jobs[:2])
    world.chain.mine(4)
    return Played(files, foreign, jobs, told)


@pytest.mark.timeout(400)
def test_vana__files_of_the_web_client__are_opened_scored_proven_and_paid(
    world: VanaWorld, run: Zygote, played: Played
):
    home = ("--home", str(world.home))
    files, foreign, jobs, told = played.files, played.foreign, played.jobs, played.told
    out = world.folder / "results.json"
    scored = run(*said("vana score 41 --out results.json", {"41": files[0], "results.json": out}), *home, "--json")
    watched = run(*said("vana watch"), *home, "--json").json()
    claimed = run(*said("vana claim"), *home, "--json").json()
    before = world.balance(world.address(OWNER))
    rewarded = run(*said("vana reward 41", {"41": files[0]}), *home, "--json").json()

    registry, pool = world.contracts.registry, world.contracts.tee_pool
    assert [pool.job(job).status for job in jobs] == [JobStatus.COMPLETED] * 2 + [JobStatus.SUBMITTED]
    proof = registry.proof(files[0], 1).data
    assert 0 < proof.score <= COIN
    assert registry.proof(files[1], 1).data.score == 0
    assert registry.proof(files[0], 2).signature == b""
    assert f"the key of file {foreign} is not granted to" in told
    state = {one["file"]: one["state"] for one in watched["jobs"]}
    assert state == {files[0]: "proven", files[1]: "proven", foreign: "waiting"}
    assert claimed["claimed"] == 2 * FEE
    assert rewarded == {"file": files[0], "proof_index": 1}
    assert world.balance(world.address(OWNER)) - before == FACTOR * proof.score // COIN

    document = msgspec.json.decode(world.store.read(Cid.parse(proof.proof_url.removeprefix("ipfs://")), 1 << 20))
    assert document == scored.json() == json.loads((world.folder / "results.json").read_text())
    words_signed = msgspec.json.decode(proof.metadata)
    bundle = parse_evidence(world.store.read(Cid.parse(words_signed["evidence"]), 1 << 20))
    assert bundle.contributions[0].paid == proof.score


def test_vana__new_home__has_a_key_of_its_own(world: VanaWorld, run: Zygote):
    made = run(*said("vana create-key"), "--light", "--home", str(world.folder / "fresh"), "--json").json()

    assert made["address"] != world.key.address
    assert len(bytes.fromhex(made["public_key"].removeprefix("0x"))) == 65


def test_vana__contracts_upgraded_under_the_node__are_refused_in_one_line(world: VanaWorld, run: Zygote):
    other = world.deploy("VanaDataRegistry", ["uint256"], [3])
    env = {"VALIDATOR_VANA_REGISTRY": other}

    refused = run("vana", "run", "--once", "--home", str(world.home), env=env)

    assert refused.code == 1
    last = refused.err.splitlines()[-1]
    assert last.startswith("error: VanaDataRegistry at")
    assert "has version 3, this release knows 2" in last


@pytest.mark.parametrize(
    ("words", "env", "said"),
    [
        (("run", "--once"), {"VALIDATOR_VANA_DLP": ""}, "the adapter to Vana is off: set vana_dlp"),
        (("score", "999"), {}, "the registry has no final file 999"),
        (("reward", "999"), {}, "file 999 was not judged by this node"),
        (("check", "--home", "nowhere"), {}, ""),
        (("watch",), {"VALIDATOR_VANA_DAO": "/nowhere"}, "No such file"),
        (("create-key",), {}, "exists already"),
        (("claim",), {"VALIDATOR_VANA_NEVER_SIGN_WITH": "OUR"}, "it must be a key for nothing else"),
        (("rebuild-history", "--no-other-machine"), {}, "signing history is never overwritten"),
        (("score", "1"), {"VALIDATOR_RPC": "http://127.0.0.1:1"}, "127.0.0.1:1"),
    ],
)
def test_vana__what_cannot_be_done__is_one_clear_line(
    world: VanaWorld, run: Zygote, words: tuple[str, ...], env: dict[str, str], said: str
):
    given = {name: world.key.address if value == "OUR" else value for name, value in env.items()}
    if env.get("VALIDATOR_VANA_DLP") == "":
        text = (world.home / "validator.toml").read_text()
        bare = world.folder / "bare"
        bare.mkdir()
        (bare / "validator.toml").write_text("\n".join(line for line in text.splitlines() if "vana_dlp =" not in line))
        words = (*words, "--home", str(bare))
    home = () if "--home" in words else ("--home", str(world.home))

    outcome = run("vana", *words, *home, env=given)

    if words[0] == "check":
        assert outcome.code == 1
        assert "FAIL" not in outcome.err
        assert "Traceback" not in outcome.err + outcome.out
        return
    assert said in outcome.refused()


@pytest.mark.timeout(400)
def test_vana__history_lost__is_not_made_anew_but_rebuilt_from_the_chain(world: VanaWorld, run: Zygote, played: Played):
    home = ("--home", str(world.home))
    history = world.home / "vana-protection.sqlite"
    kept = history.read_bytes()
    history.unlink()

    assert "is missing: restore it from a backup, or rebuild it" in run("vana", "claim", *home).refused()
    made = run("vana", "rebuild-history", "--no-other-machine", *home, "--json").json()

    assert made == {"proven": len(played.files), "blocked": 1}
    world.act(MAINTAINER, Call(world.key.address, b"", 1))
    assert (world.home / KEY).exists()
    history.write_bytes(kept)
