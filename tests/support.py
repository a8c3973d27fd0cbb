"""A small real DAO for tests: embedded chain over HTTP, store, steward, validators, contributors. Nothing is mocked."""

from __future__ import annotations

import functools
import json
import secrets
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
import torch

from validator.actions.connect import Wallet, open_node, open_sender, open_wallet, view_of, wallet_of
from validator.actions.contributor import Submitted, contribute
from validator.actions.found import TOKEN, found, read_substance, record_key
from validator.actions.home import Identifiers, create_keys, identifiers, write_config
from validator.actions.operator import join
from validator.actions.steward import admit, fund, grant, publish, rotate_key
from validator.audit.case import scan
from validator.chain.devchain import DevChain, DevKey
from validator.chain.rpc import connect
from validator.chain.signer import LocalSigner
from validator.chain.typed_data import ATTESTATION, attestation_data
from validator.chain.types import Attestation, Call, Parameters
from validator.demo.crowd import Crowd, Labelled, load_digits, split
from validator.demo.dao import PARAMETERS, STAKE, write_folder
from validator.journal import Journal
from validator.payload import encode_safetensors
from validator.rounds.lifecycle import Fact, RoundState, fold
from validator.settings import Settings, load_settings
from validator.stages.node import Node
from validator.stages.round import tick

COIN = 10**18
CLEAN, NOISE = "clean", "noise"


class Chain(Protocol):
    """As much of `DevChain` as a world needs of a chain."""

    url: str
    keys: Sequence[DevKey]

    def mine(self, blocks: int = 1) -> object: ...

    def advance(self, seconds: float) -> None: ...

    def stop(self) -> None: ...


class World:
    """Everything of one DAO. `validators` homes join with equal stakes; rounds are full at `capacity` contributions.

    `chain`: one that is running; by default an embedded chain that belongs to this world.
    """

    options: ClassVar[dict[str, str | int | float]] = {"poll_seconds": 0.2, "stagger_seconds": 0.0}
    """What every home's configuration says besides where chain and content are."""

    def __init__(
        self, folder: Path, validators: int = 1, capacity: int = 2, chain: Chain | None = None, **parameters: int
    ) -> None:
        self.folder = folder
        self.chain = chain or DevChain(block_seconds=0.15).start()
        self.w3 = connect(self.chain.url)
        self._journal = Journal(folder / "crowd.sqlite")
        self._rng = np.random.default_rng(0)
        self.names = [f"validator-{number}" for number in range(1, validators + 1)]
        self.keys: dict[str, Identifiers] = {}
        for name in ("steward", *self.names):
            self.add_home(name)
        self._found(replace(PARAMETERS, max_contributions=capacity, **parameters))
        for name in self.names:
            self.add_validator(name)

    def close(self) -> None:
        """Stop the chain."""
        self.chain.stop()

    # Parties

    def home(self, name: str) -> Settings:
        return load_settings(self.folder / name)

    def add_home(self, name: str) -> Identifiers:
        """A home with keys, configuration, and coin for gas."""
        options = {"rpc": self.chain.url, "content": f"local:{self.folder / 'store'}", **self.options}
        write_config(self.home(name), **options)
        create_keys(self.home(name), light=True)
        self.keys[name] = identifiers(self.home(name))
        self.pay(self.keys[name].address, 10 * COIN)
        if hasattr(self, "wallet"):
            self._point(name)
        return self.keys[name]

    def add_validator(self, name: str) -> None:
        """Admit, stake and grant."""
        keys = self.keys[name]
        token = self.wallet.token(self.wallet.deployment.stake_token)
        self.wallet.sender.send(token.mint(keys.address, STAKE), intent=f"mint-stake/{name}")
        admit(self.wallet, keys.address)
        join(open_wallet(self.home(name)), keys.hpke_key, STAKE)
        grant(self.wallet, self.steward, keys.address, keys.hpke_key, [1])

    def node(self, name: str, *, dry_run: bool = False) -> Node:
        return open_node(self.home(name), dry_run=dry_run)

    def contributor(self) -> Wallet:
        """A fresh account with coin."""
        signer = LocalSigner(secrets.token_bytes(32))
        self.pay(signer.address, COIN)
        view = view_of(self.w3, self.wallet.deployment, self.wallet.store, "finalized")
        return wallet_of(view, signer, open_sender(self.steward, self.w3, signer, self._journal))

    def pay(self, address: str, amount: int) -> None:
        sender = open_sender(self.home("steward"), self.w3, LocalSigner(self.chain.keys[0].secret), self._journal)
        sender.send(Call(address, b"", amount), intent=f"coin/{address}")

    # Contributions

    def payload(self, kind: str = CLEAN) -> bytes:
        records = self._crowd.clean()
        if kind == NOISE:
            shape = records.inputs.shape
            records = Labelled(self._rng.random(shape, dtype=np.float32), self._rng.integers(0, 10, shape[0]))
        return encode_safetensors(records.inputs, records.targets)

    def contribute(self, *kinds: str) -> list[Submitted]:
        return [contribute(self.contributor(), self.payload(kind)) for kind in kinds]

    # Time

    def facts(self) -> list[Fact]:
        return scan(self.wallet.follower())

    def round(self, number: int) -> RoundState:
        return fold(self.facts()).by_number[number]

    def play(self, nodes: Iterable[Node], until: Callable[[], bool], seconds: float = 150.0) -> None:
        """Tick all nodes in turn until a condition holds; fails after `seconds`."""
        deadline = time.monotonic() + seconds
        nodes = list(nodes)
        while not until():
            assert time.monotonic() < deadline, "the condition did not come about in time"
            for node in nodes:
                tick(node)

    def is_final(self, number: int) -> bool:
        state = fold(self.facts()).by_number.get(number)
        return state is not None and state.final is not None

    # Founding

    def write_dao(self, folder: Path) -> None:
        """Manifest, weights, anchor and queries."""
        self._crowd = Crowd(split(load_digits(), 0), 0)
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in _demonstration().items():
            (folder / name).write_bytes(content)

    def _found(self, parameters: Parameters) -> None:
        torch.set_num_threads(1)
        self.steward = self.home("steward")
        self.wallet = found(self.steward, parameters, None, "finalized")
        self.write_dao(self.folder / "dao")
        for name in ("steward", *self.names):
            self._point(name)
        self.steward = self.home("steward")
        rotate_key(self.wallet, self.steward, light=True)
        publish(self.wallet, read_substance(self.folder / "dao"), record_key(self.steward, light=True))
        token = self.wallet.token(self.wallet.deployment.reward_token)
        self.wallet.sender.send(token.mint(self.wallet.signer.address, 10_000 * TOKEN), intent="mint-reward")
        fund(self.wallet, 10_000 * TOKEN)

    def _point(self, name: str) -> None:
        with (self.folder / name / "validator.toml").open("a") as file:
            file.write(f'contract = "{self.wallet.deployment.rounds}"\n')


@functools.cache
def _demonstration() -> dict[str, bytes]:
    """The files of the demonstration's DAO by name: its model is trained once a process, to the same bits each time."""
    with tempfile.TemporaryDirectory() as made:
        write_folder(Path(made), split(load_digits(), 0), 0, lambda done, total: None)
        return {path.name: path.read_bytes() for path in Path(made).iterdir()}


def signed_file(path: Path, signer: Wallet, attestation: Attestation) -> Path:
    """A signed attestation as `prove-equivocation` takes it."""
    deployment = signer.deployment
    signature = signer.signer.sign_typed_data(attestation_data(deployment.chain_id, deployment.rounds, attestation))
    values = [f"0x{value.hex()}" if isinstance(value, bytes) else value for value in asdict(attestation).values()]
    names = [name for name, _ in ATTESTATION]
    path.write_text(
        json.dumps({"attestation": dict(zip(names, values, strict=True)), "signature": "0x" + signature.hex()})
    )
    return path
