"""The contributor: seal and submit data, look up what became of it, claim what it earned."""

from __future__ import annotations

import time
from dataclasses import dataclass

from validator.actions.connect import View, Wallet
from validator.audit.case import scan
from validator.chain.events import EventDecoder
from validator.chain.transactions import Receipt
from validator.content import ContentSource
from validator.envelope import Context, seal
from validator.errors import ValidatorError
from validator.manifest import Manifest
from validator.rounds.evidence import Evidence, Line
from validator.rounds.lifecycle import Fact, Phase, fold
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
class Standing:
    """Where a contribution stands: its round and phase, and its line of the evidence once the round is final."""

    id: int
    round: int
    phase: Phase
    line: Line | None


def contribute(wallet: Wallet, payload: bytes) -> Submitted:
    """Seal `payload` for the DAO's current key epoch in our own name, store it, and submit it with the deposit."""
    envelope, epoch = _seal(wallet, payload)
    return submit(wallet, envelope, epoch)


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
    call = wallet.registry.submit(cid.digest, cid.codec_byte, len(envelope), epoch, deposit)
    receipt = wallet.sender.send(call, intent=f"submit/{cid}")
    return Submitted(_contribution_id(wallet, receipt), str(cid), len(envelope), receipt.gas_used)


def _contribution_id(wallet: Wallet, receipt: Receipt) -> int:
    events = EventDecoder(wallet.deployment).decode_all(receipt.logs)
    return next(int(event.args["id"]) for event in events if event.name == "ContributionSubmitted")


def look_up(view: View, contribution: int) -> Standing:
    """Where `contribution` stands, from finalised events and the evidence that the quorum signed."""
    facts = scan(view.follower())
    if not any(fact.name == "ContributionSubmitted" and fact.args["id"] == contribution for fact in facts):
        raise ContributorError(f"contribution {contribution} is not among the finalised submissions; is the id right?")
    timestamp = int(view.w3.eth.get_block("latest")["timestamp"])
    for state in sorted(fold(facts).by_number.values(), key=lambda state: state.round):
        if state.final is not None and state.first_id <= contribution < state.end_id:
            evidence = read_evidence(view.store, state.final["evidence"])
            line = next(line for line in evidence.contributions if line.id == contribution)
            return Standing(contribution, state.round, Phase.FINALISED, line)
        if not state.abandoned and (not state.closed or state.first_id <= contribution < state.end_id):
            return Standing(contribution, state.round, state.phase(timestamp), None)
    raise ContributorError(f"contribution {contribution} waits for a round to open")


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


def check_size(wallet: Wallet, payload: bytes, manifest: Manifest) -> None:
    """Raise ContributorError when the envelope of `payload` would be too large, which would cost the deposit."""
    size, limit = len(_seal(wallet, payload)[0]), manifest.limits.envelope_bytes
    if size > limit:
        raise ContributorError(f"sealed, the payload takes {size} bytes, {limit} are accepted: leave records out")
