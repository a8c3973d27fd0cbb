"""The chain, and this operator's place in the DAO."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator

from web3 import Web3

from validator.actions.connect import View, finality_of, open_content
from validator.actions.preflight.keys import Keys
from validator.actions.preflight.line import Line, failed, passed, warned
from validator.actions.preflight.machine import chain_clock
from validator.actions.transactions import MAIN, SHARED, peek
from validator.chain.endpoint import mask
from validator.chain.errors import RpcFault
from validator.chain.finality import heights
from validator.chain.rpc import connect, understood
from validator.chain.types import Phase
from validator.envelope import public_key
from validator.rounds.lifecycle import Fact
from validator.rounds.score import version_gap
from validator.settings import Settings
from validator.stages.documents import load_manifest
from validator.stages.keys import granted_secrets

ROUND_GAS = 600_000
"""Gas of a round at most: report, commit, attest, fee, and now and then a call that anyone may send (docs/gas.md)."""
FEW_ROUNDS = 20
LATEST = 8
"""Rounds that are looked at: those that may still be under way."""


def endpoints(settings: Settings) -> Iterator[Line]:
    """Each RPC by itself: chain, head, finality, logs; then all of them against each other."""
    chains: dict[int, str] = {}
    heads: dict[str, int] = {}
    for number, url in enumerate(settings.rpc_urls()):
        name = f"RPC {number} {mask(url)}"
        try:
            chain, head = yield from _endpoint(name, url, settings)
        except RpcFault as fault:
            yield failed(name, str(fault), "start it, correct `rpc`, or leave it out")
            continue
        chains.setdefault(chain, name)
        heads[name] = head
    if len(chains) > 1:
        words = "; ".join(f"{name} serves chain {chain}" for chain, name in chains.items())
        yield failed("RPC", words, "correct `rpc`: all must serve the same chain")
    for name, head in heads.items():
        behind = max(heads.values()) - head
        if behind > settings.stale_blocks:
            yield failed(name, f"{behind} blocks behind the best", "wait until it has caught up, or leave it out")
    if len(settings.rpc_urls()) == 1:
        yield warned("RPC", "a single endpoint: nothing contradicts it", "add a second one that somebody else runs")


def _endpoint(name: str, url: str, settings: Settings) -> Generator[Line, None, tuple[int, int]]:
    begun = time.monotonic()
    w3 = connect([url], settings.rpc_timeout)
    with understood("its chain id"):
        chain = int(w3.eth.chain_id)
    head, final = heights(w3, finality_of(settings))
    with understood("the logs of its newest block"):
        w3.eth.get_logs({"fromBlock": head, "toBlock": head})
    seconds = time.monotonic() - begun
    yield passed(name, f"chain {chain}, head {head}, final {final}, answers in {seconds:.1f} s")
    return chain, head


def head_clock(w3: Web3, settings: Settings) -> Iterator[Line]:
    """The chain's time against ours."""
    with understood("its newest block"):
        head_time = int(w3.eth.get_block("latest")["timestamp"])
    yield from chain_clock(head_time, settings.chain_stale_seconds, time.time())


def membership(view: View, keys: Keys) -> Iterator[Line]:
    """Whether the chain knows this operator, with these keys and with weight."""
    validators, operator = view.contracts.validators, keys.operator
    member = validators.validator(operator)
    if not any(member.hpke_key):
        admitted = view.contracts.dao.admitted(operator)
        cure = (
            "`validator join STAKE`" if admitted else "ask the DAO's steward to admit it, then `validator join STAKE`"
        )
        yield warned("membership", f"{operator} is not a validator of this DAO", cure)
        return
    yield from matching(member.signer, member.hpke_key, keys)
    least = view.contracts.dao.parameters().min_stake
    words = f"stake {member.stake}, weight {member.weight} of {validators.total_weight()}"
    if member.exit_at:
        yield warned("stake", f"{words}; leaving the set", "`validator withdraw` when the delay is over")
    elif member.weight == 0 or member.stake < least:
        yield warned("stake", f"{words}; at least {least} is asked of who joins", "`validator top-up`")
    else:
        yield passed("stake", words)


def matching(signer: str, hpke_key: bytes, keys: Keys) -> Iterator[Line]:
    """Whether what the chain has of an operator, signing address and HPKE key, are this home's."""
    if keys.attester is None or signer != keys.attester.address:
        ours = keys.attester.address if keys.attester is not None else "none"
        cure = "bring back keys/signing.json (or signing_address) of the key that joined"
        yield failed("keys and chain", f"the chain expects signatures by {signer}, this home signs as {ours}", cure)
    elif hpke_key != public_key(keys.hpke_secret):
        cure = "restore keys/hpke.json from the backup: the key on chain cannot be changed"
        yield failed("keys and chain", "the HPKE key on chain is another one than this home's", cure)
    else:
        yield passed("keys and chain", "the chain names this home's signing and HPKE keys")


def coin(view: View, keys: Keys) -> Iterator[Line]:
    """For how many rounds the account can pay gas, at twice the fee of now."""
    with understood("a balance and the newest block"):
        held = int(view.w3.eth.get_balance(view.w3.to_checksum_address(keys.operator)))
        fee = int(view.w3.eth.get_block("latest").get("baseFeePerGas", 0)) * 2 + 10**9
    rounds = held // (fee * ROUND_GAS)
    words = f"{held} wei, enough for about {rounds} rounds at {fee / 1e9:.1f} gwei"
    if rounds < 1:
        yield failed("gas", words, f"send the chain's coin to {keys.operator}")
    elif rounds < FEW_ROUNDS:
        yield warned("gas", words, f"send more of the chain's coin to {keys.operator}")
    else:
        yield passed("gas", words)


def transactions(settings: Settings) -> Iterator[Line]:
    """What was sent and is not settled yet."""
    sql = "SELECT count(*) FROM intents WHERE outcome IS NULL"
    waiting = sum(int(rows[0][0]) for rows in (peek(settings.path(name), sql) for name in (MAIN, SHARED)) if rows)
    yield passed("transactions", f"{waiting} under way; a running node looks after them")


def grants(view: View, keys: Keys, facts: list[Fact]) -> Iterator[Line]:
    """Whether the secret of the current key epoch was granted."""
    epoch = view.contracts.dao.key_epoch()
    wanted = [fact for fact in facts if fact.name in ("KeyEpochPublished", "KeyGranted")]
    secrets = granted_secrets(wanted, view.deployment, keys.operator, keys.hpke_secret, {})
    if epoch in secrets:
        yield passed("key grants", f"key epoch {epoch} opens; {len(secrets)} of {epoch} were granted")
    else:
        yield warned("key grants", f"key epoch {epoch} was not granted to {keys.operator}", "ask the DAO's steward")


def manifest(view: View, settings: Settings) -> Iterator[Line]:
    """Whether this release scores what the DAO's manifest asks for."""
    version = view.contracts.dao.manifest_version()
    if version == 0:
        yield warned("manifest", "the DAO has published none yet", "nothing can be scored before it has")
        return
    newest = view.contracts.dao.manifest(version)
    yield _fits("manifest", f"version {version}", newest, settings)
    for number, digest in _under_way(view):
        if digest != newest:
            yield _fits(f"manifest of round {number}", "an earlier version", digest, settings)


def _under_way(view: View) -> Iterator[tuple[int, bytes]]:
    """The latest rounds that are not over, and what each is judged by."""
    rounds = view.contracts.rounds
    newest = rounds.current_round()
    for number in range(max(1, newest - LATEST), newest + 1):
        info = rounds.round_info(number)
        if info.phase not in (Phase.FINALISED, Phase.ABANDONED):
            yield number, info.manifest


def _fits(check: str, which: str, digest: bytes, settings: Settings) -> Line:
    asked = load_manifest(open_content(settings), digest).versions
    if gap := version_gap(asked):
        return failed(check, f"{which}: {gap}", "install a release whose `validator version` names these")
    return passed(check, f"{which}: {', '.join(f'{name} {want}' for name, want in asked.model_dump().items())}")
