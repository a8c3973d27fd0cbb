"""From settings to an open node for Vana."""

from __future__ import annotations

from functools import partial
from typing import Any

from eth_utils.address import to_checksum_address
from web3 import Web3

from validator.actions.connect import finality_of, open_chain, open_content, open_journal, open_sender
from validator.actions.found import read_substance, record_key
from validator.actions.steward import assemble, rehearse
from validator.actions.vana.keys import archive_of, check_one_chain, secret_of, shown, signing_key
from validator.chain.follower import Follower
from validator.chain.rpc import understood
from validator.chain.vana import Contracts, Place, VanaEvents
from validator.content import Cid, LayeredStore, root
from validator.content.plain_http import read_url
from validator.journal import Journal
from validator.manifest import Manifest
from validator.settings import Settings, SettingsError
from validator.stages.documents import Judgement, pack_sealed
from validator.stages.range_log import JournalledRanges
from validator.stages.vana.node import ARCHIVE_EPOCH, Prover, VanaNode

JOURNAL = "vana.sqlite"
_NEEDED = ("vana_registry", "vana_tee_pool", "vana_dlp", "vana_dlp_id", "vana_dao")


def place_of(settings: Settings, w3: Web3) -> Place:
    """Where to work. Raises SettingsError while the adapter is off."""
    lacking = [name for name in _NEEDED if not getattr(settings, name)]
    if lacking:
        raise SettingsError(f"the adapter to Vana is off: set {', '.join(lacking)} to use it (docs/vana.md)")
    registry, pool, dlp = (
        str(to_checksum_address(address))
        for address in (settings.vana_registry, settings.vana_tee_pool, settings.vana_dlp)
    )
    with understood("its chain id"):
        chain_id = int(w3.eth.chain_id)
    return Place(chain_id, registry, pool, dlp, settings.vana_dlp_id, settings.vana_from_block)


def substance_of(settings: Settings) -> tuple[Manifest, Judgement, bytes]:
    """The manifest of the DAO's folder, what files are judged by, and the weights.

    The anchor and the queries are never published, so what the manifest names as sealed file is the digest of their
    plain bytes together with the secret record key, which nobody can guess them by.
    """
    assert settings.vana_dao is not None, "internal error: place_of() asks for it"
    substance = read_substance(settings.vana_dao.expanduser())
    _, problem = rehearse(substance)
    key = record_key(settings)
    plain = pack_sealed(substance.anchor, substance.queries, key)
    manifest = assemble(substance.rules, _named(substance.weights), _named(plain), ARCHIVE_EPOCH)
    return manifest, Judgement(problem, key), substance.weights


def open_vana(settings: Settings, *, dry_run: bool) -> VanaNode:
    """Everything that the adapter holds open. With `dry_run` it can sign and send nothing, and takes no lock."""
    store = open_content(settings)
    w3 = open_chain(settings)
    place = place_of(settings, w3)
    secret = secret_of(settings)
    manifest, judgement, weights = substance_of(settings)
    _keep_weights(store, weights)
    journal = open_journal(settings, JOURNAL)
    journal.bind(place.chain_id, place.tee_pool)
    return VanaNode(
        w3=w3,
        place=place,
        contracts=Contracts.of(w3, place),
        follower=Follower(
            w3, place, finality_of(settings), memory=JournalledRanges(journal), decoder=VanaEvents(place)
        ),
        journal=journal,
        store=store,
        manifest=manifest,
        judgement=judgement,
        account=shown(secret).address,
        secret=secret,
        archive=archive_of(settings),
        read_url=partial(read_url, private=settings.private_peers),
        prover=None if dry_run else _prover(settings, w3, place, journal),
        claim_wei=settings.vana_claim_wei,
    )


def _prover(settings: Settings, w3: Web3, place: Place, journal: Journal) -> Prover:
    key, history = signing_key(settings)
    try:
        check_one_chain(history, place.chain_id)
        return Prover(key, open_sender(settings, w3, key, journal), history)
    except BaseException:
        history.close()
        raise


def _named(data: bytes) -> dict[str, Any]:
    cid = root(data)
    return {"digest": cid.digest.hex(), "codec": cid.codec, "size": len(data)}


def _keep_weights(store: LayeredStore, weights: bytes) -> None:
    """For whoever audits; the manifest names them."""
    cid: Cid = root(weights)
    if not store.has(cid):
        store.put(weights)
