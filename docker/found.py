"""Founds the DAO of compose.local.yml on an empty development chain: homes, contracts, manifest, three validators.

Usage: found.py HOMES RPC CONTENT. Each party gets the home HOMES/<name>; their keystores take the password that
VALIDATOR_PASSWORD_FILE names. A network that was founded already is left as it is. For trying things out only: coin
comes from accounts whose keys are public, and the tokens can be minted by anyone.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from validator.actions.connect import Wallet, open_sender, open_wallet
from validator.actions.found import TOKEN, found, read_substance, record_key
from validator.actions.home import Identifiers, create_keys, write_config
from validator.actions.operator import join
from validator.actions.steward import admit, fund, grant, publish, rotate_key
from validator.chain.devchain import derive_keys
from validator.chain.errors import RpcFault
from validator.chain.rpc import connect
from validator.chain.signer import LocalSigner
from validator.chain.types import Call
from validator.demo.crowd import load_digits, split
from validator.demo.dao import PARAMETERS, STAKE, write_folder
from validator.errors import ValidatorError
from validator.journal import Journal
from validator.settings import CONFIG_NAME, load_settings

STEWARD, AUDITOR = "steward", "auditor"
VALIDATORS = ("validator-1", "validator-2", "validator-3")
PARTIES = (STEWARD, *VALIDATORS, AUDITOR)
COIN = 10**18
REWARDS = 10_000 * TOKEN
ROUND = replace(PARAMETERS, open_seconds=60, max_contributions=100)
"""A round closes a minute after it has opened, or with a hundred contributions."""


def wait_for_chain(rpc: str, seconds: float = 60.0) -> None:
    """Return once the endpoint answers."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            connect(rpc)
        except RpcFault:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
        else:
            return


def make_home(homes: Path, name: str, rpc: str, content: str) -> Identifiers:
    """Configuration and keys of one party."""
    write_config(load_settings(homes / name), rpc=rpc, content=content, poll_seconds=1.0, stagger_seconds=3.0)
    return create_keys(load_settings(homes / name), light=True)


def hand_out(homes: Path, rpc: str, accounts: list[str]) -> None:
    """Coin for everybody's gas and deposits."""
    journal = Journal(homes / STEWARD / "bank.sqlite")
    bank = open_sender(load_settings(homes / STEWARD), connect(rpc), LocalSigner(derive_keys(1)[0].secret), journal)
    for account in accounts:
        bank.send(Call(account, b"", 10 * COIN), intent=f"coin/{account}")
    journal.close()


def open_dao(homes: Path) -> Wallet:
    """Contracts, key epoch, manifest and a funded pool; every home learns the address."""
    steward = load_settings(homes / STEWARD)
    wallet = found(steward, ROUND, None, "finalized")
    rotate_key(wallet, steward, light=True)
    with tempfile.TemporaryDirectory() as folder:
        write_folder(Path(folder), split(load_digits(), 0), 0, lambda done, total: None)
        publish(wallet, read_substance(Path(folder)), record_key(steward, light=True))
    token = wallet.token(wallet.deployment.reward_token)
    wallet.sender.send(token.mint(wallet.signer.address, REWARDS), intent="mint-reward")
    fund(wallet, REWARDS)
    for name in PARTIES:
        with (homes / name / CONFIG_NAME).open("a") as file:
            file.write(f'contract = "{wallet.deployment.rounds}"\n')
    return wallet


def take_in(homes: Path, wallet: Wallet, name: str, keys: Identifiers) -> None:
    """A validator with a stake and the DAO's key."""
    token = wallet.token(wallet.deployment.stake_token)
    wallet.sender.send(token.mint(keys.address, STAKE), intent=f"mint-stake/{name}")
    admit(wallet, keys.address)
    join(open_wallet(load_settings(homes / name)), keys.hpke_key, STAKE)


def main(homes: Path, rpc: str, content: str) -> int:
    """Found the network unless it is there; one line about what happened."""
    if (homes / AUDITOR / CONFIG_NAME).exists():
        sys.stdout.write("the network was founded before; remove the volumes to begin anew\n")
        return 0
    torch.set_num_threads(1)
    try:
        wait_for_chain(rpc)
        keys = {name: make_home(homes, name, rpc, content) for name in PARTIES}
        hand_out(homes, rpc, [party.address for party in keys.values()])
        wallet = open_dao(homes)
        for name in (*VALIDATORS, AUDITOR):
            if name != AUDITOR:
                take_in(homes, wallet, name, keys[name])
            grant(wallet, load_settings(homes / STEWARD), keys[name].address, keys[name].hpke_key, [1])
    except ValidatorError as error:
        sys.stderr.write(f"error: {error}; remove the volumes and begin anew\n")
        return 1
    sys.stdout.write(f"founded: ScoringRounds is {wallet.deployment.rounds}\n")
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("error: usage: found.py HOMES RPC CONTENT")
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
