"""Stand-ins of Vana's contracts on a chain, a prover's home around the smallest model, and contributors."""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
from eth_abi.abi import encode

from tests.chain.support import MemoryLog, sender_of
from tests.faults.tiny import FIRST, MANIFEST, MODEL, labelled
from tests.support import Chain
from tests.vana.writer import seal_file, seal_key
from validator.actions.found import RECORD_KEY
from validator.actions.home import write_config
from validator.actions.vana.keys import ProverKey, create
from validator.actions.vana.open import open_vana
from validator.chain.artifacts import load
from validator.chain.devchain import DevChain
from validator.chain.rpc import connect
from validator.chain.signer import create_keystore
from validator.chain.transactions import Receipt, Settled
from validator.chain.types import Call
from validator.chain.vana import Contracts, Place, VanaDataRegistry, VanaDlp, VanaTeePool
from validator.content import LocalStore
from validator.exact.random import Stream
from validator.influence.models import build, dump_weights, initialise
from validator.payload import encode_safetensors
from validator.settings import Settings, load_settings
from validator.stages.vana.node import VanaNode

CLIENT = Path(__file__).parent / "web_client"
COIN = 10**18
FEE = 10**15
FACTOR = 50 * COIN
INSTRUCTION = "https://example.org/proof.tar.gz"
DLP_ID = 7
MAINTAINER, OWNER, STRANGER = 0, 1, 2


def install() -> None:
    """What the lock file says, unless it is there."""
    lock, mark = CLIENT / "package-lock.json", CLIENT / "node_modules" / ".installed"
    if not (mark.is_file() and mark.read_text() == lock.read_text()):
        assert shutil.which("npm"), "npm is not on the PATH: install Node.js 20 or later"
        subprocess.run(["npm", "ci", "--omit=optional", "--loglevel=error"], cwd=CLIENT, check=True)
        mark.write_text(lock.read_text())


@dataclass(frozen=True, slots=True)
class Written:
    """A file, and its key for one account, as the web client leaves them."""

    file: bytes
    keys: list[str]


def written(plain: bytes, password: str, public: bytes, **how: Any) -> Written:
    """By openpgp and eccrypto from npm."""
    install()
    asked = {"plain": plain.hex(), "password": password, "publicKey": public.hex(), **how}
    done = subprocess.run(
        ["node", "write.mjs"],
        cwd=CLIENT,
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    answer = json.loads(done.stdout)
    return Written(bytes.fromhex(answer["file"]), answer["keys"])


def password() -> str:
    """A wallet's signature, as text."""
    return "0x" + secrets.token_bytes(65).hex()


def payload(seed: int, *, wrong: bool = False, count: int = 12) -> bytes:
    """Records that help the tiny model, or harm it."""
    inputs, targets = labelled(np.random.default_rng(seed), count)
    return encode_safetensors(inputs, 1 - targets if wrong else targets)


@cache
def weights() -> bytes:
    model = build("mlp", MODEL)
    initialise(model, Stream(b"tiny", "model"))
    return dump_weights(model)


def write_dao(folder: Path, estimator: str) -> None:
    """The DAO's folder: what files are judged by."""
    folder.mkdir(parents=True)
    rules = MANIFEST.format(estimator=estimator)
    (folder / "manifest.toml").write_text(rules.replace("full_pool_score = 1", "full_pool_score = 2000000000"))
    (folder / "weights.safetensors").write_bytes(weights())
    rng = np.random.default_rng(7)
    for name, count in (("anchor", 8), ("queries", 32)):
        (folder / f"{name}.safetensors").write_bytes(encode_safetensors(*labelled(rng, count)))


class VanaWorld:
    """One data DAO of Vana's, its registry and TeePool, and one prover's home."""

    def __init__(
        self,
        folder: Path,
        chain: Chain,
        *,
        versions: tuple[int, int, int] = (2, 1, 1),
        finality: str = "0",
        estimator: str = FIRST,
    ) -> None:
        self.folder, self.chain = folder, chain
        self.w3 = connect(chain.url)
        self._senders = [sender_of(cast(DevChain, chain), index) for index in range(3)]
        registry = self.deploy("VanaDataRegistry", ["uint256"], [versions[0]])
        pool = self.deploy("VanaTeePool", ["address", "uint256", "uint256", "uint256"], [registry, FEE, 0, versions[1]])
        self.token = self.deploy("DevToken", ["string", "string"], ["Data", "DATA"])
        dlp = self.deploy(
            "VanaDataLiquidityPool",
            ["address", "address", "address", "uint256", "string", "uint256"],
            [registry, pool, self.token, FACTOR, INSTRUCTION, versions[2]],
        )
        self.place = Place(int(self.w3.eth.chain_id), registry, pool, dlp, DLP_ID)
        self.contracts = Contracts(
            VanaDataRegistry(self.w3, registry), VanaTeePool(self.w3, pool), VanaDlp(self.w3, dlp)
        )
        self.act(MAINTAINER, self.encoded("DevToken", self.token, "mint", dlp, 1000 * FACTOR))
        self.store = LocalStore(folder / "store", 1 << 30)
        write_dao(folder / "dao", estimator)
        self.home = folder / "prover"
        self.options: dict[str, str | int | float] = {
            "rpc": chain.url,
            "content": f"local:{folder / 'store'}",
            "finality": finality,
            "poll_seconds": 0.2,
            "bump_seconds": 1,
            "vana_registry": registry,
            "vana_tee_pool": pool,
            "vana_dlp": dlp,
            "vana_dlp_id": DLP_ID,
            "vana_dao": str(folder / "dao"),
        }
        write_config(self.settings, **self.options)
        self.key: ProverKey = create(self.settings, light=True)
        # Not made up anew each time, so that the same files get the same scores.
        create_keystore(self.settings.path(RECORD_KEY), b"k" * 32, self.settings.password(), light=True)
        self.act(MAINTAINER, Call(self.key.address, b"", 5 * COIN))
        self.register(self.key.address)

    @property
    def settings(self) -> Settings:
        return load_settings(self.home)

    def node(self, *, dry_run: bool = False) -> VanaNode:
        return open_vana(self.settings, dry_run=dry_run)

    # The chain

    def act(self, who: int, call: Call) -> Receipt:
        return self._senders[who].send(call, intent=secrets.token_hex(8))

    def sent(self, who: int, newest: int) -> list[bytes]:
        """The last raw transactions of an account, in order."""
        entries = cast(MemoryLog, self._senders[who]._log).entries[-newest:]
        intents = [entry.intent if isinstance(entry, Settled) else entry for entry in entries]
        return [intent.attempts[-1].raw for intent in intents]

    def address(self, who: int) -> str:
        return self._senders[who].address

    def deploy(self, name: str, kinds: list[str], values: list[Any]) -> str:
        receipt = self.act(MAINTAINER, Call(None, load(name).bytecode + encode(kinds, values)))
        assert receipt.contract_address
        return receipt.contract_address

    def encoded(self, name: str, address: str, function: str, *arguments: Any, value: int = 0) -> Call:
        contract = self.w3.eth.contract(abi=load(name).abi)
        return Call(address, bytes.fromhex(contract.encode_abi(function, list(arguments))[2:]), value)

    def registry(self, who: int, function: str, *arguments: Any) -> Receipt:
        return self.act(who, self.encoded("VanaDataRegistry", self.place.registry, function, *arguments))

    def register(self, address: str) -> None:
        call = self.encoded("VanaTeePool", self.place.tee_pool, "addTee", address, "https://prover.example", "0x04")
        self.act(MAINTAINER, call)

    # Contributors

    def add(self, file: bytes, granted: str, *, to: str | None = None, url: str | None = None) -> int:
        """A file in the store and in the registry, its key granted to the prover or to another account."""
        url = url or f"ipfs://{self.store.put(file)}"
        permissions = [(to or self.key.address, granted)] if granted else []
        self.act(OWNER, self.contracts.registry.add_file(url, self.address(OWNER), permissions))
        return self.contracts.registry.files_count()

    def request(self, file: int) -> int:
        """A job for the file."""
        self.act(OWNER, self.contracts.tee_pool.request_proof(file, FEE))
        return self.contracts.tee_pool.jobs_count()

    def contribute(self, plain: bytes, *, key: str | None = None) -> tuple[int, int]:
        """A file as our own writer encrypts it, and its job: (file, job)."""
        words = key or password()
        file = self.add(seal_file(plain, words.encode()), seal_key(words.encode(), self.key.public))
        return file, self.request(file)

    def balance(self, account: str) -> int:
        found = self.w3.eth.contract(address=self.token, abi=load("DevToken").abi)  # type: ignore[call-overload]
        return int(found.functions.balanceOf(account).call())
