"""The steward: publish a manifest, rotate and grant keys, admit operators, set parameters, pause, fund the pool."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch

from validator.actions.connect import Wallet
from validator.actions.home import epoch_name, load_epoch, save_epoch
from validator.chain.errors import ChainError, Reverted
from validator.chain.types import Parameters
from validator.envelope import EnvelopeError, generate_keypair, public_key, seal, wrap_secret
from validator.errors import ValidatorError
from validator.influence import Problem, Records
from validator.influence.fit import estimator_settings
from validator.manifest import FORMAT, Manifest, make_manifest
from validator.rounds.score import own_versions
from validator.settings import Settings
from validator.stages.documents import RECORD_KEY_BYTES, dao_context, pack_sealed, put_together
from validator.stages.keys import grant_of
from validator.stages.open import payload_schema


class StewardError(ValidatorError):
    """The DAO's documents do not fit together."""


@dataclass(frozen=True, slots=True)
class Substance:
    """What a DAO is about: weights (safetensors), anchor and queries, and the rest of the manifest as plain data.

    `rules` holds the manifest's keys name, model (family, config), estimator, payload, limits, scoring, rewards.
    """

    weights: bytes
    anchor: Records
    queries: Records
    rules: Mapping[str, Any]


def rotate_key(wallet: Wallet, settings: Settings, *, light: bool = False) -> int:
    """Publish a new key epoch; its secret is saved before the chain hears of the key. Returns the epoch.

    A secret that an earlier try saved and could not publish is the one that is published now.
    """
    epoch = wallet.contracts.dao.key_epoch() + 1
    if not settings.path(epoch_name(epoch)).exists():
        save_epoch(settings, epoch, generate_keypair().secret, light=light)
    call = wallet.contracts.dao.publish_key_epoch(public_key(load_epoch(settings, epoch)))
    wallet.sender.send(call, intent=f"epoch/{epoch}")
    return epoch


def publish(wallet: Wallet, substance: Substance, record_key: bytes | None = None) -> Manifest:
    """Put weights and sealed data into the content store and publish the manifest that names them; the first one opens
    round 1.

    `record_key` must be kept from one manifest to the next, or repeats of earlier records would be paid again.
    """
    epoch = wallet.contracts.dao.key_epoch()
    if epoch == 0:
        raise StewardError(
            "publish a key epoch first (`validator dao rotate-key`): queries and anchor are sealed to it"
        )
    rehearse(substance)
    key = record_key or secrets.token_bytes(RECORD_KEY_BYTES)
    deployment = wallet.deployment
    plain = pack_sealed(substance.anchor, substance.queries, key)
    context = dao_context(deployment.chain_id, deployment.rounds, deployment.dao, epoch)
    sealed = seal(plain, [wallet.contracts.dao.key_of(epoch)], context)
    manifest = assemble(substance.rules, _stored(wallet, substance.weights), _stored(wallet, sealed), epoch)
    wallet.store.put(manifest.to_bytes())
    version = wallet.contracts.dao.manifest_version() + 1
    call = wallet.contracts.dao.publish_manifest(manifest.digest())
    wallet.sender.send(call, intent=f"manifest/{version}/{manifest.digest().hex()}")
    if wallet.contracts.rounds.current_round() == 0:
        wallet.sender.send(wallet.contracts.rounds.open(), intent="open")
    return manifest


def rehearse(substance: Substance) -> tuple[Manifest, Problem]:
    """Put together what every validator will have to: whatever does not fit is refused here, before a round is opened
    that nobody could score. Raises ManifestError, InfluenceError, BadSchema or StewardError.

    Returns the manifest, but for the files that it will name, and the problem.
    """
    nowhere = {"digest": "0" * 64, "codec": "raw", "size": 0}
    manifest = assemble(substance.rules, nowhere, nowhere, 1)
    estimator_settings(manifest.estimator.name, manifest.estimator.arguments())
    payload_schema(manifest)
    if (substance.queries.targets.dim() == 2) != (manifest.payload.task == "next_token"):
        raise StewardError("queries whose targets are one a position go with payload.task next_token, and only they")
    problem = put_together(manifest, substance.weights, substance.anchor, substance.queries)
    rules, inputs = manifest.payload, substance.queries.inputs
    wanted = torch.int64 if rules.dtype == "int64" else torch.float32
    if list(inputs.shape[1:]) != rules.shape or inputs.dtype != wanted:
        found = f"{inputs.dtype} {list(inputs.shape[1:])}"
        raise StewardError(f"the queries have inputs of {found}, payload asks for {wanted} {rules.shape}")
    if problem.classes != rules.classes:
        raise StewardError(f"payload.classes is {rules.classes}, the model tells {problem.classes} apart")
    return manifest, problem


def assemble(rules: Mapping[str, Any], weights: dict[str, Any], sealed: dict[str, Any], epoch: int) -> Manifest:
    """The manifest of a DAO's rules, naming two files. Raises ManifestError."""
    model = rules.get("model")
    document = {
        **rules,
        "format": FORMAT,
        "versions": own_versions().model_dump(),
        "model": {**model, "weights": weights} if isinstance(model, Mapping) else model,
        "sealed": {"file": sealed, "key_epoch": epoch},
    }
    return make_manifest({key: value for key, value in document.items() if value is not None})


def admit(wallet: Wallet, operator: str, *, allowed: bool = True) -> None:
    """Let `operator` join the validator set, or no longer: that never ejects one that has joined. It may not open
    anything until it is granted a key.
    """
    if not allowed and not wallet.contracts.dao.admitted(operator):
        raise StewardError(f"{operator} is not admitted, so there is nothing to revoke")
    call = wallet.contracts.dao.admit(operator, allowed)
    wallet.sender.send(call, intent=f"admit/{operator.lower()}/{time.time_ns()}")


def grant(wallet: Wallet, settings: Settings, operator: str, hpke_key: bytes, epochs: list[int]) -> None:
    """Hand the secrets of `epochs` to whoever holds the secret half of `hpke_key`: a validator, or an auditor."""
    for epoch in epochs:
        bound = grant_of(wallet.deployment, epoch, operator)
        wrapped = wrap_secret(load_epoch(settings, epoch), hpke_key, bound)
        call = wallet.contracts.dao.grant_key(epoch, operator, wrapped)
        wallet.sender.send(call, intent=f"grant/{epoch}/{operator.lower()}/{time.time_ns()}")


def grant_all(wallet: Wallet, settings: Settings, epoch: int) -> tuple[list[str], dict[str, str]]:
    """Grant `epoch` to every validator that is not leaving. Returns those that have it now, and why others do not: one
    whose key is bad must not keep the rest from theirs.
    """
    granted, refused = list[str](), dict[str, str]()
    for operator in sorted(wallet.contracts.validators.operators(), key=str.lower):
        member = wallet.contracts.validators.validator(operator)
        if member.exit_at:
            continue
        try:
            grant(wallet, settings, operator, member.hpke_key, [epoch])
        except (ChainError, EnvelopeError) as error:
            refused[operator] = str(error)
        else:
            granted.append(operator)
    return granted, refused


def set_parameters(wallet: Wallet, parameters: Parameters) -> dict[str, tuple[int, int]]:
    """Set the parameters of rounds that open from now on. Returns (old, new) of those that change, by name."""
    old, new = asdict(wallet.contracts.dao.parameters()), asdict(parameters)
    changes = {name: (old[name], new[name]) for name in old if old[name] != new[name]}
    if not changes:
        raise StewardError("this changes nothing: the parameters have these values already")
    version = wallet.contracts.dao.parameters_version() + 1
    call = wallet.contracts.dao.set_parameters(parameters)
    wallet.sender.send(call, intent=f"parameters/{version}/{hashlib.sha256(call.data).hexdigest()}")
    return changes


def pause(wallet: Wallet, *, paused: bool) -> None:
    """Stop new submissions, and nothing else; or take them again."""
    call = wallet.contracts.dao.pause() if paused else wallet.contracts.dao.unpause()
    wallet.sender.send(call, intent=f"{'pause' if paused else 'unpause'}/{time.time_ns()}")


def mint(wallet: Wallet, token: str, account: str, amount: int) -> None:
    """Make `amount` units of the development token at `token` for `account`. Raises StewardError for a real one."""
    contract = wallet.token(token)
    call = contract.mint(account, amount)
    try:
        wallet.sender.simulate(call)
    except Reverted as error:
        raise StewardError(f"{token} is no development token, nothing can be minted: {error}") from None
    before = contract.balance_of(account)
    receipt = wallet.sender.send(call, intent=f"mint/{token.lower()}/{account.lower()}/{time.time_ns()}")
    gained = contract.balance_of(account, receipt.block) - before
    if gained < amount:
        raise StewardError(f"{token} is no development token: asked for {amount} units, it gave {gained}")


def fund(wallet: Wallet, amount: int) -> None:
    """Put `amount` reward-token units of the steward's into the pool."""
    once = time.time_ns()
    token = wallet.token(wallet.deployment.reward_token)
    wallet.sender.send(token.approve(wallet.deployment.pool, amount), intent=f"approve-fund/{once}")
    wallet.sender.send(wallet.contracts.pool.fund(amount), intent=f"fund/{once}")


def _stored(wallet: Wallet, data: bytes) -> dict[str, Any]:
    cid = wallet.store.put(data)
    return {"digest": cid.digest.hex(), "codec": cid.codec, "size": len(data)}


def joined_key(wallet: Wallet, operator: str) -> bytes:
    """The HPKE key that a validator joined with."""
    key = wallet.contracts.validators.validator(operator).hpke_key
    if not any(key):
        raise StewardError(f"{operator} is no validator; give the auditor's key with --hpke-key")
    return key
