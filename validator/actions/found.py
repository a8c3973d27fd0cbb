"""Founding: the contracts onto a chain, and the files that describe what the DAO is about."""

from __future__ import annotations

import json
import secrets
import tomllib
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import torch
from eth_utils.address import to_checksum_address
from web3 import Web3

from validator import strict_json
from validator.actions.connect import (
    View,
    Wallet,
    open_chain,
    open_content,
    open_journal,
    open_sender,
    view_of,
    wallet_of,
)
from validator.actions.home import account, epoch_name, password
from validator.actions.steward import StewardError, Substance
from validator.chain.artifacts import CONTRACTS, load
from validator.chain.contracts.token import Token
from validator.chain.deploy import deploy, deploy_token
from validator.chain.errors import Reverted, RpcFault
from validator.chain.follower import Finality
from validator.chain.rpc import understood
from validator.chain.signer import create_keystore, read_keystore
from validator.chain.types import Deployment, Parameters
from validator.families.hugging_face import from_config_json
from validator.influence import InfluenceError, Records
from validator.influence.models import read_tensors
from validator.settings import Settings
from validator.stages.documents import RECORD_KEY_BYTES
from validator.stages.open import next_tokens

TOKEN = 10**18
HOUR, DAY = 3600, 86_400

DEFAULT_PARAMETERS = Parameters(
    open_seconds=DAY,
    report_seconds=2 * HOUR,
    commit_seconds=4 * HOUR,
    attest_seconds=4 * HOUR,
    max_contributions=10_000,
    max_attempts=3,
    exit_seconds=7 * DAY,
    slash_bps=5_000,
    reporter_bps=2_000,
    deposit=10**15,
    round_budget=1_000 * TOKEN,
    validator_fee=30 * TOKEN,
    min_stake=1_000 * TOKEN,
    max_weight=100_000 * TOKEN,
    unrevealed_fee=10 * TOKEN,
)
"""Daily rounds: what `validator dao init` takes for every parameter that its file does not set."""

RECORD_KEY = "keys/records.json"
DEPLOYMENT = "deployment.json"
"""What `validator dao init` has deployed: chain id, addresses, first block, and the code hashes that it checked."""


def found(settings: Settings, parameters: Parameters, tokens: tuple[str, str] | None, finality: Finality) -> Wallet:
    """Deploy the five contracts from this home's account, which becomes the owner, and return its wallet.

    The code on the chain is checked against this version's; the addresses are kept in the home's `deployment.json`.

    `tokens`: addresses of stake and reward token; None deploys development tokens that anyone can mint. Raises
    StewardError for a home that has founded a DAO before, and for tokens that are none.
    """
    if settings.path(epoch_name(1)).exists():
        raise StewardError(f"{settings.home} has founded a DAO already: create keys in another --home for a second one")
    w3 = open_chain(settings)
    for token in tokens or ():
        _check_token(w3, token)
    signer = account(settings)
    store = open_content(settings)
    sender = open_sender(settings, w3, signer, open_journal(settings))
    stake, reward = tokens or (deploy_token(w3, sender, "Stake", "STK"), deploy_token(w3, sender, "Reward", "RWD"))
    deployment = deploy(w3, sender, signer.address, parameters, stake, reward)
    _save(settings, deployment)
    view: View = view_of(w3, deployment, store, finality)
    return wallet_of(view, signer, sender)


def _save(settings: Settings, deployment: Deployment) -> None:
    """Write the addresses, and the hash of each contract's code, before anything else can go wrong."""
    hashes = {name: "0x" + load(name).code_hash.hex() for name in CONTRACTS}
    text = json.dumps({**asdict(deployment), "code_hashes": hashes}, indent=2)
    settings.path(DEPLOYMENT).write_text(text + "\n", "utf-8")


def read_parameters(path: Path | None, base: Parameters = DEFAULT_PARAMETERS) -> Parameters:
    """`base` with what the TOML file at `path` changes."""
    if path is None:
        return base
    changes = _read_toml(path)
    limits = _parameter_limits()
    unknown = sorted(changes.keys() - limits.keys())
    if unknown:
        raise StewardError(f"{path}: no parameter is called {unknown[0]}; there are {', '.join(sorted(limits))}")
    for name, value in changes.items():
        if type(value) is not int or not 0 <= value <= limits[name]:
            raise StewardError(f"{path}: {name} must be an integer in 0 .. {limits[name]}, not {value!r}")
    return replace(base, **changes)


def _parameter_limits() -> dict[str, int]:
    """The largest value that the contract's type of each parameter holds."""
    constructor = next(entry for entry in load("DataDAO").abi if entry["type"] == "constructor")
    members = next(item["components"] for item in constructor["inputs"] if "components" in item)
    bits = [int(member["type"].removeprefix("uint")) for member in members]
    return {field.name: 2**size - 1 for field, size in zip(fields(Parameters), bits, strict=True)}


def _check_token(w3: Web3, address: str) -> None:
    """Refuse what is no ERC-20 before contracts are built around it for ever."""
    try:
        Token(w3, address).total_supply()
    except (Reverted, RpcFault):
        with understood(f"the code of {address}"):
            deployed = bool(w3.eth.get_code(to_checksum_address(address)))
        what = "is a contract but no ERC-20 token" if deployed else "holds no contract on this chain"
        raise StewardError(f"the token address {address} {what}") from None


def read_substance(folder: Path) -> Substance:
    """The DAO's folder: manifest.toml, weights.safetensors, anchor.safetensors and queries.safetensors.

    The two data files hold `inputs` (n, ...) and int64 `targets` (n,) or, for sequences, (n, positions); of sequences
    of tokens padded with -1 the `inputs` suffice.
    """
    return Substance(
        weights=_read(folder / "weights.safetensors"),
        anchor=_read_records(folder / "anchor.safetensors"),
        queries=_read_records(folder / "queries.safetensors"),
        rules=_with_config_json(_read_toml(folder / "manifest.toml"), folder / "config.json"),
    )


def _with_config_json(rules: dict[str, Any], path: Path) -> dict[str, Any]:
    """A model of the family `transformers` may leave its configuration to a config.json, as the library writes it."""
    model = rules.get("model")
    if not isinstance(model, dict) or model.get("family") != "transformers" or "config" in model:
        return rules
    try:
        document = strict_json.loads(_read(path))
    except ValueError as error:
        raise StewardError(f"{path} is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise StewardError(f"{path} must hold one JSON object")
    return {**rules, "model": {**model, "config": from_config_json(document)}}


def record_key(settings: Settings, *, light: bool = False) -> bytes:
    """The DAO's secret key of record hashes: made once, kept encrypted, used by every manifest."""
    path = settings.path(RECORD_KEY)
    if not path.exists():
        create_keystore(path, secrets.token_bytes(RECORD_KEY_BYTES), password(settings), light=light)
    return read_keystore(path, password(settings))


def parameters_toml(parameters: Parameters) -> str:
    """Parameters as a file that `read_parameters` reads."""
    return "".join(f"{key} = {value}\n" for key, value in asdict(parameters).items())


def _read_records(path: Path) -> Records:
    try:
        tensors = read_tensors(_read(path))
    except InfluenceError as error:
        raise StewardError(f"{path}: {error}") from None
    if set(tensors) == {"inputs"} and tensors["inputs"].dim() == 2 and tensors["inputs"].dtype == torch.int64:
        return next_tokens(tensors["inputs"])
    if set(tensors) != {"inputs", "targets"}:
        found_names = ", ".join(sorted(tensors))
        raise StewardError(f"{path} must hold exactly the tensors inputs and targets, it holds {found_names}")
    return Records(tensors["inputs"], tensors["targets"])


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(_read(path).decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StewardError(f"{path} is not TOML: {error}") from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StewardError(f"{path}: {error.strerror}") from None
