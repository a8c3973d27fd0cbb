"""A DAO founded on a real anvil by the commands that a steward would use, and a round played on it.

anvil comes from npm with the contracts' toolchain (contracts/package.json pins it). Its own binary is started, not the
script that npm puts before it, so that ending the process ends the chain.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytest
from web3 import Web3

from tests.chain.round_play import attestation_for, set_up
from validator.actions.home import create_keys, identifiers, write_config
from validator.chain.artifacts import CONTRACTS, load
from validator.chain.deploy import load_deployment
from validator.chain.devchain import DevChain, derive_keys
from validator.chain.errors import NotOurContracts, RpcFault
from validator.chain.rpc import connect
from validator.chain.types import Phase, ScoreLeaf
from validator.settings import load_settings

CONTRACTS_FOLDER = Path(__file__).parents[2] / "contracts"
COIN = 10**18


def binary() -> Path:
    """anvil, as npm has brought it."""
    found = next(CONTRACTS_FOLDER.glob("node_modules/@foundry-rs/anvil-*/bin/anvil*"), None)
    if found is None:
        pytest.fail("anvil is not there: run `scripts/contracts install`, which needs Node.js")
    return found


@pytest.fixture(scope="module")
def anvil(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The RPC endpoint of a fresh chain; blocks come with transactions, and every block has one later time."""
    log = tmp_path_factory.mktemp("anvil") / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [binary(), "--port", "0", "--chain-id", "31337", "--hardfork", "prague", "--slots-in-an-epoch", "1"],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            yield listening(process, log)
        finally:
            process.terminate()
            process.wait(10)


def listening(process: subprocess.Popen[bytes], log: Path) -> str:
    """Waits until anvil has said where it listens, and answers there."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, f"anvil ended: {log.read_text()}"
        said = [line for line in log.read_text().splitlines() if line.startswith("Listening on ")]
        if said:
            url = f"http://{said[0].removeprefix('Listening on ')}"
            with suppress(RpcFault):
                connect(url)
                return url
        time.sleep(0.1)
    raise AssertionError(f"anvil does not listen: {log.read_text()}")


class AnvilChain:
    """As much of `DevChain` as a play needs. anvil's accounts are those of the same phrase."""

    keys = derive_keys(5)

    def __init__(self, url: str) -> None:
        self.url = url
        self.w3 = connect(url)

    def mine(self, blocks: int) -> None:
        rpc(self.w3, "anvil_mine", hex(blocks))


def rpc(w3: Web3, method: str, *parameters: Any) -> Any:
    return w3.provider.make_request(method, list(parameters))["result"]  # type: ignore[arg-type]


def test_dao_init__on_anvil__deploys_checks_prints_and_saves(anvil: str, tmp_path: Path) -> None:
    home = tmp_path / "steward"
    settings = load_settings(home)
    write_config(settings, rpc=anvil, content=f"local:{tmp_path / 'store'}", finality="0", poll_seconds=0.1)
    create_keys(settings, light=True)
    w3 = connect(anvil)
    rpc(w3, "anvil_setBalance", identifiers(settings).address, hex(10 * COIN))

    command = [
        sys.executable,
        "-m",
        "validator",
        "dao",
        "init",
        "--home",
        str(home),
        "--dev-tokens",
        "--light",
        "--json",
    ]
    said = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    assert said.returncode == 0, said.stderr
    printed = json.loads(said.stdout)
    saved = json.loads((home / "deployment.json").read_text())
    assert {key: saved[key] for key in printed} == printed
    assert printed["chain_id"] == 31337
    assert saved["code_hashes"] == {name: "0x" + load(name).code_hash.hex() for name in CONTRACTS}
    found = load_deployment(w3, printed["rounds"])
    assert (found.dao, found.pool, found.block) == (printed["dao"], printed["pool"], printed["block"])
    code = bytes(w3.eth.get_code(printed["pool"]))
    rpc(w3, "anvil_setCode", printed["pool"], "0x" + (code[:-1] + b"\xfe").hex())
    with pytest.raises(NotOurContracts, match="is not RewardPool of this version"):
        load_deployment(w3, printed["rounds"])


def test_round__on_anvil__finalised_and_paid(anvil: str) -> None:
    w3 = connect(anvil)
    play = set_up(cast("DevChain", AnvilChain(anvil)))
    of = play.contracts
    number = of.rounds.current_round()
    contribution = play.submit(b"\x07" * 32)
    play.send(4, of.rounds.close())
    play.draw(number)
    leaf = ScoreLeaf(contribution, play.senders[4].address, 1, 700, 5, 1)
    attestation = attestation_for(play, number, leaf)
    for index in (1, 2, 3):
        play.send(index, of.rounds.report_availability(number, b"\x01"))
    for index in (1, 2, 3):
        play.commit(index, attestation, b"\x05" * 32)
    for index in (1, 2, 3):
        play.attest(index, attestation, b"\x05" * 32)
    play.send(4, of.rounds.finalise(attestation))
    play.send(4, of.pool.claim(leaf.contributor, 700, []))

    assert of.rounds.phase(number) == Phase.FINALISED
    assert of.reward_token.balance_of(leaf.contributor) == 700
    late = of.rounds.round_info(number).attest_deadline + 1
    rpc(w3, "evm_setNextBlockTimestamp", late)
    rpc(w3, "evm_mine")
    play.send(4, of.pool.claim_fee(number, play.senders[1].address))
    assert of.reward_token.balance_of(play.senders[1].address) == 100
