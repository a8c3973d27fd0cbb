"""Playing a round: the crowd submits, the validators judge, the earners claim, and the chain is asked what happened."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from hexbytes import HexBytes

from validator.actions.connect import Wallet
from validator.actions.contributor import ContributorError, Submitted, claim, contribute, latest_evidence, submit
from validator.content import Cid
from validator.demo.crowd import SCORED_KINDS, Crowd, Labelled
from validator.demo.dao import MAX_ENVELOPE
from validator.demo.network import Network
from validator.demo.processes import DemoError
from validator.envelope import Context, seal
from validator.payload import encode_safetensors
from validator.rounds.evidence import Evidence
from validator.rounds.lifecycle import RoundState
from validator.rounds.types import Status

HOSTILE_KINDS = ("replayed", "malformed", "malformed", "malformed")
CAPACITY = len(SCORED_KINDS) + len(HOSTILE_KINDS)
SHARES = ("clean", "narrow", "mislabelled", "noise", "duplicate", "replayed", "malformed")


@dataclass(frozen=True, slots=True)
class Entry:
    """One contribution of the crowd: who sent it, and what it really is."""

    wallet: Wallet
    submitted: Submitted
    kind: str
    detail: str


@dataclass(frozen=True, slots=True)
class Played:
    """One finished round, as the chain and the evidence tell it."""

    entries: list[Entry]
    state: RoundState
    evidence: Evidence
    gas: dict[str, int]

    def summary(self) -> dict[str, Any]:
        """The round in the demonstration's JSON."""
        digests = {digest for digest, _, _ in self.state.attestations.values()}
        kinds = {entry.submitted.id: entry.kind for entry in self.entries}
        return {
            "round": self.state.round,
            "status": "finalised" if self.state.final is not None else "open",
            "attestations": len(self.state.attestations),
            "equal": len(digests) == 1,
            "pool": self.state.pool,
            "paid": sum(line.paid for line in self.evidence.contributions),
            "gas": self.gas,
            "contributions": [
                {
                    "id": line.id,
                    "kind": kinds[line.id],
                    "status": Status(line.status).name.lower(),
                    "score": line.payable,
                    "raw": line.raw,
                    "stderr": line.stderr,
                    "paid": line.paid,
                    "reason": line.reason or line.words(),
                }
                for line in self.evidence.contributions
            ],
        }


def submit_crowd(network: Network, crowd: Crowd, done: Callable[[int, int], None]) -> list[Entry]:
    """One round's crowd, each under an account of its own: the well-formed offers, then the hostile ones."""
    entries: list[Entry] = []

    def add(kind: str, detail: str, send: Callable[[Wallet], Submitted]) -> None:
        wallet = network.contributor()
        entries.append(Entry(wallet, send(wallet), kind, detail))
        done(len(entries), CAPACITY)

    for offer in crowd.round():
        payload = encode_safetensors(offer.records.inputs, offer.records.targets)
        add(offer.kind, offer.detail, lambda wallet, payload=payload: contribute(wallet, payload))  # type: ignore[misc]
    victim = next(entry for entry in entries if entry.kind == "clean")
    add("replayed", "the envelope of a clean contribution, submitted by another", lambda w: _replay(w, victim))
    add("malformed", "pixels that are not numbers", lambda w: contribute(w, _not_numbers(crowd.clean())))
    add("malformed", "an envelope with one byte flipped", lambda w: _flipped(w, crowd.clean()))
    add("malformed", "an envelope above the size limit", lambda w: contribute(w, bytes(MAX_ENVELOPE + 1)))
    return entries


def finish(network: Network, number: int, entries: list[Entry], watch: Callable[[RoundState], None]) -> Played:
    """Wait for the round to be final, let every earner claim, and check that the tokens really arrived."""
    state = network.wait_final(number, watch)
    evidence = latest_evidence(network.facts(), network.wallet.store)
    if evidence is None or evidence.round != number:
        raise DemoError(f"the evidence of round {number} is not to be had")
    claims = [_claim(network, entry.wallet) for entry in _earners(entries, evidence)]
    gas = {**_gas_of_round(network, number), "submit": max(entry.submitted.gas for entry in entries)}
    return Played(entries, state, evidence, {**gas, "claim": max(claims, default=0)})


def shares(played: Iterable[Played]) -> dict[str, float]:
    """Share of all that was paid, by kind."""
    paid = dict.fromkeys(SHARES, 0)
    for item in played:
        kinds = {entry.submitted.id: entry.kind for entry in item.entries}
        for line in item.evidence.contributions:
            paid[kinds[line.id]] += line.paid
    total = sum(paid.values())
    return {kind: amount / total if total else 0.0 for kind, amount in paid.items()}


def _earners(entries: list[Entry], evidence: Evidence) -> list[Entry]:
    paid = {line.id for line in evidence.contributions if line.paid}
    return [entry for entry in entries if entry.submitted.id in paid]


def _claim(network: Network, wallet: Wallet) -> int:
    token = network.wallet.token(network.wallet.deployment.reward_token)
    before = token.balance_of(wallet.signer.address)
    amount, receipt = claim(wallet, wallet.signer.address)
    arrived = token.balance_of(wallet.signer.address) - before
    if arrived != amount:
        raise ContributorError(f"{wallet.signer.address} claimed {amount} and received {arrived}")
    return receipt.gas_used


def _gas_of_round(network: Network, number: int) -> dict[str, int]:
    """The dearest commit, attest and finalise transaction of a round, in gas."""
    names = {"Committed": "commit", "Attested": "attest", "RoundFinalised": "finalise"}
    gas = dict.fromkeys(names.values(), 0)
    for event in network.events():
        if event.name in names and event.args["round"] == number:
            receipt = network.wallet.w3.eth.get_transaction_receipt(HexBytes(event.transaction_hash))
            gas[names[event.name]] = max(gas[names[event.name]], int(receipt["gasUsed"]))
    return gas


def _replay(wallet: Wallet, victim: Entry) -> Submitted:
    envelope = wallet.store.read(Cid.parse(victim.submitted.cid), victim.submitted.size)
    return submit(wallet, envelope, wallet.contracts.dao.key_epoch())


def _not_numbers(records: Labelled) -> bytes:
    broken = records.inputs.copy()
    broken[0, 0] = np.nan
    return encode_safetensors(broken, records.targets)


def _flipped(wallet: Wallet, records: Labelled) -> Submitted:
    epoch = wallet.contracts.dao.key_epoch()
    place = (wallet.deployment.chain_id, wallet.deployment.rounds.lower())
    context = Context(*place, key_epoch=epoch, contributor=wallet.signer.address.lower())
    payload = encode_safetensors(records.inputs, records.targets)
    sealed = bytearray(seal(payload, [wallet.contracts.dao.key_of(epoch)], context))
    sealed[-1] ^= 1
    return submit(wallet, bytes(sealed), epoch)
