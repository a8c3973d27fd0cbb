"""Faults of validators, proven by anyone: two answers signed for one round, and a commit that was not revealed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from eth_utils.address import to_checksum_address

from validator import strict_json
from validator.actions.connect import Wallet
from validator.audit.case import scan
from validator.chain.errors import Reverted
from validator.chain.events import EventDecoder
from validator.chain.transactions import Receipt
from validator.chain.typed_data import ATTESTATION, attestation_digest, recover
from validator.chain.types import Attestation
from validator.errors import ValidatorError
from validator.rounds.lifecycle import Fact

FILE_LIMIT = 64 * 1024

_HEX = re.compile(r"0x(?:[0-9a-f]{2})*", re.IGNORECASE)
_SIGNATURE_BYTES = 65
_NOBODY = "0x" + "0" * 40


class FaultError(ValidatorError):
    """The files prove no fault, or there is none to charge."""


@dataclass(frozen=True, slots=True)
class Signed:
    """An attestation with the 65-byte signature over its EIP-712 digest."""

    attestation: Attestation
    signature: bytes


@dataclass(frozen=True, slots=True)
class Punished:
    """What a fault cost `operator`, and what of that went to whoever proved it; stake-token units."""

    operator: str
    round: int
    attempt: int
    taken: int
    reward: int


@dataclass(frozen=True, slots=True)
class Charges:
    """What `charge_unrevealed` did in one round: who was charged, and why others were not, by (attempt, operator)."""

    round: int
    charged: tuple[Punished, ...]
    passed_over: dict[tuple[int, str], str]


def read_signed(path: Path) -> Signed:
    """The JSON file at `path`: {"attestation": {...}, "signature": "0x..."}.

    The attestation has the eleven fields of `ScoreAttestation`, named as in Solidity; 32-byte values are 0x and hex
    digits, the others integers. Raises FaultError for anything else.
    """
    with path.open("rb") as file:
        raw = file.read(FILE_LIMIT + 1)
    try:
        document = strict_json.loads(raw) if len(raw) <= FILE_LIMIT else None
    except ValueError:
        document = None
    if not isinstance(document, dict) or document.keys() != {"attestation", "signature"}:
        raise FaultError(f'{path} is not a signed attestation: one JSON object of "attestation" and "signature"')
    signature = _bytes(document["signature"])
    if signature is None or len(signature) != _SIGNATURE_BYTES:
        raise FaultError(f"{path}: signature must be 0x and the hex digits of {_SIGNATURE_BYTES} bytes")
    return Signed(_attestation(path, document["attestation"]), signature)


def prove_equivocation(wallet: Wallet, first: Signed, second: Signed) -> Punished:
    """Prove that one validator signed both: its stake is slashed, and the account gets the reporter's share."""
    a, b = first.attestation, second.attestation
    if (a.round, a.attempt) != (b.round, b.attempt) or a == b:
        raise FaultError("these prove nothing: two different attestations of one round and attempt are needed")
    operator = _operator(wallet, first)
    if operator != _operator(wallet, second):
        raise FaultError("these prove nothing: they were signed by different validators")
    call = wallet.contracts.rounds.prove_equivocation(operator, a, first.signature, b, second.signature)
    wallet.sender.simulate(call)  # a fault that was punished already is refused, not reported as if it were news
    receipt = wallet.sender.send(call, intent=f"equivocation/{a.round}/{a.attempt}/{operator.lower()}")
    return _punished(wallet, receipt, operator, a.round, a.attempt)


def charge_unrevealed(wallet: Wallet, number: int) -> Charges:
    """Charge every validator that committed in round `number` and did not reveal, in each attempt that is over.

    Who cannot be charged, because it is too early, it was not to blame, or it has paid, is passed over with the reason.
    """
    if number > wallet.contracts.rounds.current_round():
        raise FaultError(f"there is no round {number} yet")
    unrevealed = _unrevealed(scan(wallet.follower()), number)
    if not unrevealed:
        raise FaultError(f"round {number} has no commit that was not revealed")
    charged, passed_over = list[Punished](), dict[tuple[int, str], str]()
    for attempt, operator in unrevealed:
        call = wallet.contracts.rounds.charge_unrevealed(number, attempt, operator)
        try:
            wallet.sender.simulate(call)
            receipt = wallet.sender.send(call, intent=f"charge/{number}/{attempt}/{operator.lower()}")
        except Reverted as error:
            passed_over[attempt, operator] = str(error)
        else:
            charged.append(_punished(wallet, receipt, operator, number, attempt))
    return Charges(number, tuple(charged), passed_over)


def _unrevealed(facts: Iterable[Fact], number: int) -> list[tuple[int, str]]:
    """(attempt, operator) of every commit of round `number` without an attestation, in order."""
    seen: dict[str, set[tuple[int, str]]] = {"Committed": set(), "Attested": set()}
    for fact in facts:
        if fact.name in seen and fact.args["round"] == number:
            seen[fact.name].add((int(fact.args["attempt"]), str(to_checksum_address(fact.args["operator"]))))
    return sorted(seen["Committed"] - seen["Attested"])


def _operator(wallet: Wallet, signed: Signed) -> str:
    digest = attestation_digest(wallet.deployment.chain_id, wallet.deployment.rounds, signed.attestation)
    signer = recover(digest, signed.signature)
    operator = wallet.contracts.validators.operator_of(signer) if signer is not None else _NOBODY
    if operator == _NOBODY:
        raise FaultError(
            f"the attestation of round {signed.attestation.round} is signed by {signer or 'nobody'}, "
            "who signs for no validator of this DAO"
        )
    return operator


def _punished(wallet: Wallet, receipt: Receipt, operator: str, number: int, attempt: int) -> Punished:
    events = EventDecoder(wallet.deployment).decode_all(receipt.logs)
    slashed = next(event.args for event in events if event.name == "ValidatorSlashed")
    return Punished(operator, number, attempt, int(slashed["amount"]), int(slashed["reporterShare"]))


def _attestation(path: Path, document: object) -> Attestation:
    names = [name for name, _ in ATTESTATION]
    if not isinstance(document, dict) or document.keys() != set(names):
        raise FaultError(f"{path}: attestation must have exactly the fields {', '.join(names)}")
    values = [_value(path, name, kind, document[name]) for name, kind in ATTESTATION]
    return Attestation(**dict(zip((field.name for field in fields(Attestation)), values, strict=True)))


def _value(path: Path, name: str, kind: str, value: object) -> Any:  # noqa: ANN401 - an int or bytes, as `kind` says
    if kind == "bytes32":
        data = _bytes(value)
        if data is None or len(data) != 32:
            raise FaultError(f"{path}: {name} must be 0x and 64 hex digits")
        return data
    limit = 2 ** int(kind.removeprefix("uint"))
    if type(value) is not int or not 0 <= value < limit:
        raise FaultError(f"{path}: {name} must be an integer in 0 .. {limit - 1}")
    return value


def _bytes(value: object) -> bytes | None:
    return bytes.fromhex(value[2:]) if isinstance(value, str) and _HEX.fullmatch(value) else None
