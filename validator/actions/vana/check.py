"""What to ask before `validator vana run`, and whenever something seems wrong."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from eth_utils.address import to_checksum_address

from validator.actions.connect import open_chain, open_content
from validator.actions.preflight.line import Line, answered, failed, passed, warned
from validator.actions.vana.keys import HISTORY, other_uses, refuse_shared, secret_of, shown
from validator.actions.vana.open import place_of, substance_of
from validator.chain.rpc import understood
from validator.chain.vana import Contracts, check_versions
from validator.settings import Settings
from validator.stages.watch import probe

LITTLE_WEI = 10**16
"""Less than some proofs cost."""


def check(settings: Settings) -> Iterator[Line]:
    """Every line, as soon as it is known."""
    yield from answered("prover's key", partial(_key, settings), "`validator vana create-key`")
    yield from answered("contracts", partial(_contracts, settings), "correct the settings, or upgrade")
    yield from answered("prover", partial(_prover, settings), "correct the settings")
    yield from answered("DAO folder", partial(_folder, settings), "correct vana_dao, or what the folder holds")
    yield from answered("content store", partial(_store, settings), "start it, or correct `content`")


def _key(settings: Settings) -> Iterator[Line]:
    key = shown(secret_of(settings))
    yield passed("prover's key", f"{key.address}, public key 0x{key.public.hex()}")
    refuse_shared(settings, key.address)
    if other_uses(settings):
        yield passed("key separation", "it is none of the other keys that this home knows of")
    else:
        cure = "name your validators' addresses in vana_never_sign_with, so that a mix-up is refused"
        yield warned("key separation", "this home knows of no other key to tell it from", cure)
    if settings.path(HISTORY).exists():
        yield passed("signing history", str(settings.path(HISTORY)))
    else:
        yield failed("signing history", f"{settings.path(HISTORY)} is missing", "restore it from a backup")


def _contracts(settings: Settings) -> Iterator[Line]:
    w3 = open_chain(settings)
    place = place_of(settings, w3)
    check_versions(Contracts.of(w3, place))
    yield passed("contracts", f"registry, TeePool and DLP on chain {place.chain_id}: known versions, one data DAO")


def _prover(settings: Settings) -> Iterator[Line]:
    w3, address = open_chain(settings), shown(secret_of(settings)).address
    contracts = Contracts.of(w3, place_of(settings, w3))
    tee = contracts.tee_pool.tee(address)
    if tee.active:
        yield passed("prover", f"registered in the TeePool; {tee.earned - tee.withdrawn} wei of fees to claim")
    else:
        cure = "its maintainer has to call addTee with this address and public key: a node cannot join by itself"
        yield failed("prover", f"{address} is not a prover of the TeePool: it is assigned no jobs", cure)
    with understood(f"the balance of {address}"):
        balance = int(w3.eth.get_balance(to_checksum_address(address)))
    if balance < LITTLE_WEI:
        yield warned("balance", f"{address} holds {balance} wei for gas", "send it some of the chain's own coin")
    else:
        yield passed("balance", f"{balance} wei")


def _folder(settings: Settings) -> Iterator[Line]:
    place_of(settings, open_chain(settings))
    manifest, _, _ = substance_of(settings)
    yield passed("DAO folder", f"{manifest.name}: manifest 0x{manifest.digest().hex()}")
    if manifest.rewards.contributor_cap_bps < 10_000:
        share = manifest.rewards.contributor_cap_bps / 100
        words = f"contributor_cap_bps lets no file score more than {share:g} % of Vana's 1.0"
        yield warned("scores", words, "set it to 10000 unless that is meant")


def _store(settings: Settings) -> Iterator[Line]:
    store = open_content(settings)
    fault = probe(store)
    if fault:
        yield failed("content store", f"{store.name}: {fault}", "one entry of `content` must be writable, and work")
    else:
        yield passed("content store", store.name)
