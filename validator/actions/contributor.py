"""The contributor: seal and submit data, look up what became of it, claim what it earned."""

from __future__ import annotations

import time
from dataclasses import dataclass

from validator.actions.connect import View, Wallet
from validator.audit.case import scan
from validator.chain.events import EventDecoder
from validator.chain.transactions import Receipt
from validator.chain.types import Call
from validator.content import Cid, ContentSource, root
from validator.envelope import Context, seal
from validator.errors import ValidatorError
from validator.manifest import Manifest
from validator.rounds.evidence import Evidence
from validator.rounds.lifecycle import Fact, fold
from validator.stages.documents import load_manifest, read_evidence


class ContributorError(ValidatorError):
    """The contribution or the account is not there, or has nothing to claim."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """A contribution on chain: its id, the envelope's CID and size in bytes, and the gas it took."""

    id: int
    cid: str
    size: int
    gas: int


@dataclass(frozen=True, slots=True)
class Sealed:
    """A contribution ready to be sent, and what it costs. `envelope`: sealed under key `epoch`, for `round`; `deposit`
    in wei; `gas` as the endpoint estimates it, and the most that it may cost in wei: None where it would be refused
    now, and `why_not` says why.
    """

    envelope: bytes
    epoch: int
    round: int
    deposit: int
    gas: int | None
    most_fee: int | None
    why_not: str = ""


def contribute(wallet: Wallet, payload: bytes) -> Submitted:
    """Seal `payload` for the DAO's current key epoch in our own name, store it, and submit it with the deposit."""
    envelope, epoch = _seal(wallet, payload)
    return submit(wallet, envelope, epoch)


def prepare(wallet: Wallet, payload: bytes, manifest: Manifest) -> Sealed:
    """Seal `payload`, and find out what submitting it costs; nothing is stored or sent. Raises ContributorError when
    the envelope is too large, which would cost the deposit.
    """
    envelope, epoch = _seal(wallet, payload)
    size, limit = len(envelope), manifest.limits.envelope_bytes
    if size > limit:
        raise ContributorError(f"sealed, the payload takes {size} bytes, {limit} are accepted: leave records out")
    number, _, deposit = wallet.contracts.rounds.submission_terms()
    call = _submission(wallet, root(envelope), size, epoch, deposit)
    gas, fee, why_not = None, None, ""
    try:
        gas, fee = wallet.sender.price(call)
    except ValidatorError as refused:
        why_not = str(refused)
    return Sealed(envelope, epoch, number, deposit, gas, fee, why_not)


def _seal(wallet: Wallet, payload: bytes) -> tuple[bytes, int]:
    epoch = wallet.contracts.dao.key_epoch()
    if epoch == 0:
        raise ContributorError("the DAO has no key yet, so nothing can be sealed for it")
    context = Context(
        chain_id=wallet.deployment.chain_id,
        contract=wallet.deployment.rounds.lower(),
        key_epoch=epoch,
        contributor=wallet.signer.address.lower(),
    )
    return seal(payload, [wallet.contracts.dao.key_of(epoch)], context), epoch


def submit(wallet: Wallet, envelope: bytes, epoch: int) -> Submitted:
    """Store an envelope and submit its CID; the deposit is what the open round asks for."""
    cid = wallet.store.put(envelope)
    _, _, deposit = wallet.contracts.rounds.submission_terms()
    call = _submission(wallet, cid, len(envelope), epoch, deposit)
    receipt = wallet.sender.send(call, intent=f"submit/{cid}")
    return Submitted(_contribution_id(wallet, receipt), str(cid), len(envelope), receipt.gas_used)


def _submission(wallet: Wallet, cid: Cid, size: int, epoch: int, deposit: int) -> Call:
    return wallet.registry.submit(cid.digest, cid.codec_byte, size, epoch, deposit)


def _contribution_id(wallet: Wallet, receipt: Receipt) -> int:
    events = EventDecoder(wallet.deployment).decode_all(receipt.logs)
    return next(int(event.args["id"]) for event in events if event.name == "ContributionSubmitted")


def latest_evidence(facts: list[Fact], store: ContentSource) -> Evidence | None:
    """The bundle of the last finalised round, whose earnings tree is the one that the pool pays by."""
    final = [state for state in fold(facts).by_number.values() if state.final is not None]
    if not final:
        return None
    last = max(final, key=lambda state: state.round)
    assert last.final is not None
    return read_evidence(store, last.final["evidence"])


def claim(wallet: Wallet, account: str) -> tuple[int, Receipt]:
    """Pay `account` all that it has earned and not yet been paid; anyone may send this. Returns the amount."""
    facts = scan(wallet.follower())
    evidence = latest_evidence(facts, wallet.store)
    earned = dict(evidence.earnings).get(account.lower(), 0) if evidence is not None else 0
    due = earned - wallet.contracts.pool.claimed(account)
    if evidence is None or due <= 0:
        raise ContributorError(f"{account} has nothing to claim: earned {earned}, all of it paid")
    index = [entry for entry, _ in evidence.earnings].index(account.lower())
    proof = tuple(evidence.earnings_tree().proof(index))
    call = wallet.contracts.pool.claim(account, earned, proof)
    return due, wallet.sender.send(call, intent=f"claim/{account.lower()}/{earned}/{time.time_ns()}")


def open_manifest(view: View) -> Manifest:
    """The manifest of the open round, by whose rules a payload is made."""
    number, _, _ = view.contracts.rounds.submission_terms()
    return load_manifest(view.store, view.contracts.rounds.round_info(number).manifest)
