"""The network of the demonstration: an embedded chain, a shared store, a steward, three validators, an auditor."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from validator.actions.connect import Wallet, open_sender, open_wallet, wallet_of
from validator.actions.found import TOKEN, found, read_substance, record_key
from validator.actions.home import Identifiers, create_keys, identifiers, write_config
from validator.actions.operator import join
from validator.actions.steward import admit, fund, grant, publish, rotate_key
from validator.audit.case import scan, scan_events
from validator.chain.devchain import DevKey, derive_keys
from validator.chain.rpc import connect
from validator.chain.signer import LocalSigner
from validator.chain.types import Call, Event
from validator.demo.dao import PARAMETERS, STAKE
from validator.demo.processes import DemoError, Processes, free_port, wait_for_http
from validator.journal import Journal
from validator.rounds.lifecycle import Fact, RoundState, fold
from validator.settings import Settings, load_settings

VALIDATORS = 3
POLL_SECONDS, BLOCK_SECONDS = 0.4, 0.4
COIN = 10**18
ROUND_SECONDS = 600.0


@dataclass(slots=True)
class Network:
    """A running network. `wallet` is the steward's; `bank` an account of the chain that hands out its coin."""

    folder: Path
    rpc: str
    processes: Processes
    steward: Settings
    wallet: Wallet
    bank: DevKey
    crowd_journal: Journal

    def home(self, name: str) -> Settings:
        """Settings of a party's home."""
        return load_settings(self.folder / name)

    def contributor(self) -> Wallet:
        """A fresh account with some coin, ready to submit."""
        signer = LocalSigner(secrets.token_bytes(32))
        self.pay(signer.address, COIN)
        sender = open_sender(self.steward, self.wallet.w3, signer, self.crowd_journal)
        return wallet_of(self.wallet, signer, sender)

    def pay(self, address: str, amount: int) -> None:
        """Coin from the bank."""
        sender = open_sender(self.steward, self.wallet.w3, LocalSigner(self.bank.secret), self.crowd_journal)
        sender.send(Call(address, b"", amount), intent=f"coin/{address}/{time.time_ns()}")

    def events(self) -> list[Event]:
        """All finalised events with where they stand, for what a fact does not hold."""
        return scan_events(self.wallet.follower())

    def facts(self) -> list[Fact]:
        """All finalised events."""
        return scan(self.wallet.follower())

    def wait_final(self, number: int, watch: Callable[[RoundState], None]) -> RoundState:
        """Wait until round `number` is final, telling `watch` how far it is."""
        deadline = time.monotonic() + ROUND_SECONDS
        while time.monotonic() < deadline:
            self.processes.check()
            state = fold(self.facts()).by_number.get(number)
            if state is not None:
                watch(state)
                if state.final is not None and len(state.attestations) == VALIDATORS:
                    return state
            time.sleep(POLL_SECONDS)
        raise DemoError(f"round {number} was not final after {ROUND_SECONDS:g} s; the logs are in {self.folder}")


def build(folder: Path, substance: Path, capacity: int, step: Callable[[str], None]) -> Network:
    """Start the chain, found the DAO on what `substance` holds, and start the validators.

    `capacity`: contributions a round; a full round closes at once. `step` is told what happens, in a few words.
    """
    processes = Processes(folder)
    try:
        return _build(folder, substance, capacity, step, processes)
    except BaseException:
        processes.stop()
        raise


def _build(folder: Path, substance: Path, capacity: int, step: Callable[[str], None], processes: Processes) -> Network:
    step("starting the embedded chain")
    port = free_port()
    rpc = f"http://127.0.0.1:{port}"
    processes.start("devchain", "devchain", "--port", str(port), "--block-seconds", str(BLOCK_SECONDS))
    wait_for_http(rpc, processes)
    bank = derive_keys(1)[0]
    names = ["steward", *(f"validator-{number}" for number in range(1, VALIDATORS + 1)), "auditor"]
    step("creating keys")
    keys = {name: _make_home(folder, name, rpc) for name in names}
    journal = _hand_out_coin(folder, rpc, bank, keys.values())
    steward = load_settings(folder / "steward")
    step("deploying the contracts")
    parameters = replace(PARAMETERS, max_contributions=capacity)
    wallet = found(steward, parameters, None, "finalized")
    for name in names:
        with (folder / name / "validator.toml").open("a") as file:
            file.write(f'contract = "{wallet.deployment.rounds}"\n')
    step("publishing model, queries and rules")
    rotate_key(wallet, steward, light=True)
    publish(wallet, read_substance(substance), record_key(steward, light=True))
    network = Network(folder, rpc, processes, steward, wallet, bank, journal)
    _fund(wallet)
    for name in names[1:]:
        step(f"{name} gets its key grant{'' if name == 'auditor' else ' and stakes'}")
        if name != "auditor":
            _join(network, name, keys[name])
        grant(wallet, steward, keys[name].address, keys[name].hpke_key, [1])
    step("starting the validators")
    for name in names[1:-1]:
        processes.start(name, "run", "--home", str(folder / name))
    return network


def _make_home(folder: Path, name: str, rpc: str) -> Identifiers:
    home = load_settings(folder / name)
    write_config(
        home,
        rpc=rpc,
        content=f"local:{folder / 'store'}",
        poll_seconds=POLL_SECONDS,
        stagger_seconds=3.0,
        threads=1,
    )
    settings = load_settings(folder / name)
    create_keys(settings, light=True)
    return identifiers(settings)


def _hand_out_coin(folder: Path, rpc: str, bank: DevKey, parties: Iterable[Identifiers]) -> Journal:
    journal = Journal(folder / "crowd.sqlite")
    settings = load_settings(folder / "steward")
    sender = open_sender(settings, connect(rpc), LocalSigner(bank.secret), journal)
    for party in parties:
        sender.send(Call(party.address, b"", 10 * COIN), intent=f"coin/{party.address}")
    return journal


def _fund(wallet: Wallet) -> None:
    token = wallet.token(wallet.deployment.reward_token)
    wallet.sender.send(token.mint(wallet.signer.address, 10_000 * TOKEN), intent="mint-reward")
    fund(wallet, 10_000 * TOKEN)


def _join(network: Network, name: str, keys: Identifiers) -> None:
    wallet = network.wallet
    stake_token = wallet.token(wallet.deployment.stake_token)
    wallet.sender.send(stake_token.mint(keys.address, STAKE), intent=f"mint-stake/{name}")
    admit(wallet, keys.address)
    join(open_wallet(network.home(name)), keys.hpke_key, STAKE)
