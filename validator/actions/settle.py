"""Deposits: give one back or forfeit it as its score says, and pay out what an account is credited with."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from eth_utils.address import to_checksum_address

from validator.actions.connect import Wallet
from validator.audit.case import scan_events
from validator.chain.errors import Reverted
from validator.chain.events import EventDecoder
from validator.chain.transactions import Receipt
from validator.chain.types import Call, Contribution, Phase, RoundInfo, ScoreLeaf
from validator.content import ContentError
from validator.errors import ValidatorError
from validator.rounds.evidence import Evidence, Line
from validator.rounds.types import FORFEITS, WORDS, Status
from validator.stages.documents import read_evidence

_RECLAIMED = "reclaimed without a score: its round was abandoned, had no validators, or nobody recorded it in time"


class SettleError(ValidatorError):
    """The deposit cannot be settled, or not yet."""


class Fate(StrEnum):
    """What became of a deposit."""

    RETURNED = "returned"
    FORFEITED = "forfeited"
    NONE = "none"
    """There was none: the round of its submission asked for none."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """A deposit that is settled. `deposit` and `withdrawn` in wei; `withdrawn` is the whole credit paid to `payer` now.

    `settled_now`: by this call, not before it; `why`: in words.
    """

    id: int
    fate: Fate
    deposit: int
    why: str
    settled_now: bool
    payer: str
    withdrawn: int


@dataclass(frozen=True, slots=True)
class Collected:
    """What `collect` did in one round. `amount`: wei forfeited by the contributions `recorded`; `passed_over`: why, by
    id; `withdrawn`: wei, the whole credit paid to `owner` now.
    """

    round: int
    recorded: tuple[int, ...]
    passed_over: dict[int, str]
    amount: int
    owner: str
    withdrawn: int


def settle(wallet: Wallet, contribution: int) -> Settlement:
    """Settle the deposit of `contribution`, unless it is, and pay its payer all of its credit. Anyone may send this.

    The score is recorded, with its proof from the evidence. A deposit that nobody settled in time, or whose round was
    abandoned, is reclaimed instead where recording would not give it back. Raises SettleError while it is held.
    """
    if contribution > wallet.registry.count():
        raise SettleError(f"there is no contribution {contribution}; is the id right?")
    entry = wallet.registry.contribution(contribution)
    deposit = wallet.contracts.rounds.parameters_of(entry.round).deposit
    receipt = _settle(wallet, contribution, entry) if entry.deposit > 0 else None
    fate, why = _fate(wallet, contribution, receipt) if deposit > 0 else (Fate.NONE, "its round asked for none")
    withdrawn = withdraw_credit(wallet, entry.payer)
    return Settlement(contribution, fate, deposit, why, receipt is not None, entry.payer, withdrawn)


def collect(wallet: Wallet, number: int) -> Collected:
    """Record every score of final round `number` that forfeits its deposit, and pay the DAO's owner all of its credit.

    Contributions that are settled already, or that somebody settles meanwhile, are passed over.
    """
    evidence = read_evidence(wallet.store, _final(wallet, number).evidence)
    recorded, passed_over, amount = list[int](), dict[int, str](), 0
    for line, call in _recordings(evidence, wallet, number):
        if line.status not in FORFEITS:
            continue
        deposit = wallet.registry.contribution(line.id).deposit
        if deposit == 0:
            passed_over[line.id] = "its deposit is settled already"
            continue
        try:
            wallet.sender.send(call, intent=f"record/{number}/{line.id}")
        except Reverted as error:
            passed_over[line.id] = str(error)
        else:
            recorded.append(line.id)
            amount += deposit
    owner = wallet.contracts.dao.owner()
    return Collected(number, tuple(recorded), passed_over, amount, owner, withdraw_credit(wallet, owner))


def withdraw_credit(wallet: Wallet, account: str) -> int:
    """Pay `account` its credit, if it has any; returns the wei."""
    credit = wallet.registry.credits(account)
    if credit > 0:
        call = wallet.registry.withdraw_credit(account)
        wallet.sender.send(call, intent=f"credit/{account.lower()}/{time.time_ns()}")
    return credit


def _final(wallet: Wallet, number: int) -> RoundInfo:
    if number > wallet.contracts.rounds.current_round():
        raise SettleError(f"there is no round {number} yet")
    info = wallet.contracts.rounds.round_info(number)
    if info.phase is not Phase.FINALISED:
        raise SettleError(f"round {number} is {info.phase.name.lower()}: deposits are forfeited once it is final")
    return info


def _settle(wallet: Wallet, contribution: int, entry: Contribution) -> Receipt | None:
    """Send what settles the deposit; None if somebody else was faster."""
    rounds = _rounds_with(wallet, contribution, entry.round)
    reclaim = _reclaim(wallet, contribution, rounds)
    number, info = rounds[-1]
    recording = _recording(wallet, contribution, number, info, needed=reclaim is None)
    if recording is not None and (reclaim is None or recording[0].status not in FORFEITS):
        return _send(wallet, contribution, recording[1], f"record/{number}/{contribution}")
    if reclaim is not None:
        return _send(wallet, contribution, reclaim[1], f"reclaim/{reclaim[0]}/{contribution}")
    raise SettleError(
        f"the deposit of contribution {contribution} is held: round {number} is {info.phase.name.lower()}; "
        "settle it once that round is final"
    )


def _send(wallet: Wallet, contribution: int, call: Call, intent: str) -> Receipt | None:
    try:
        return wallet.sender.send(call, intent=intent)
    except Reverted:
        if wallet.registry.contribution(contribution).deposit > 0:
            raise
        return None


def _rounds_with(wallet: Wallet, contribution: int, first: int) -> list[tuple[int, RoundInfo]]:
    """The rounds that held or hold `contribution`, in order: all but the last were abandoned."""
    found = []
    for number in range(first, wallet.contracts.rounds.current_round() + 1):
        info = wallet.contracts.rounds.round_info(number)
        if info.first_id <= contribution and (info.phase is Phase.OPEN or contribution < info.end_id):
            found.append((number, info))
        if found and info.phase is not Phase.ABANDONED:
            break
    return found


def _reclaim(wallet: Wallet, contribution: int, rounds: list[tuple[int, RoundInfo]]) -> tuple[int, Call] | None:
    """The call that takes the deposit back from one of `rounds`, if there is one that the contract accepts now."""
    for number, _ in rounds:
        call = wallet.contracts.rounds.reclaim_deposit(number, contribution)
        try:
            wallet.sender.simulate(call)
        except Reverted:
            continue
        return number, call
    return None


def _recording(
    wallet: Wallet, contribution: int, number: int, info: RoundInfo, *, needed: bool
) -> tuple[Line, Call] | None:
    """The line of `contribution` and the call that records it, once its round is final. That the evidence cannot be
    had is an error only where it is `needed`.
    """
    if info.phase is not Phase.FINALISED:
        return None
    try:
        evidence = read_evidence(wallet.store, info.evidence)
    except ContentError:
        if needed:
            raise
        return None
    return next(item for item in _recordings(evidence, wallet, number) if item[0].id == contribution)


def _recordings(evidence: Evidence, wallet: Wallet, number: int) -> Iterator[tuple[Line, Call]]:
    """Every line of a final round with the call that records it."""
    tree = evidence.scores_tree()
    for index, line in enumerate(evidence.contributions):
        yield line, wallet.contracts.rounds.record_score(number, _leaf(line), tuple(tree.proof(index)))


def _leaf(line: Line) -> ScoreLeaf:
    account = str(to_checksum_address(line.contributor))
    return ScoreLeaf(line.id, account, line.status, line.payable, line.raw, line.stderr)


def _fate(wallet: Wallet, contribution: int, receipt: Receipt | None) -> tuple[Fate, str]:
    """What became of a deposit that is settled, by `receipt` or before, and why."""
    try:
        status = Status(wallet.contracts.rounds.score_of(contribution)[1].status)
    except Reverted:
        return Fate.RETURNED, _RECLAIMED
    forfeited = _forfeited(wallet, contribution, receipt)
    if forfeited is None:  # settled, but in a block that is not final yet: the score says how, as a rule
        forfeited = status in FORFEITS
    if forfeited or status not in FORFEITS:
        return Fate.FORFEITED if forfeited else Fate.RETURNED, WORDS[status]
    return Fate.RETURNED, _RECLAIMED


def _forfeited(wallet: Wallet, contribution: int, receipt: Receipt | None) -> bool | None:
    """What the chain's event says: the one in `receipt`, or else among the finalised ones; None if it is in neither."""
    events = EventDecoder(wallet.deployment).decode_all(receipt.logs) if receipt else scan_events(wallet.follower())
    for event in events:
        if event.name == "DepositSettled" and event.args["id"] == contribution:
            return bool(event.args["forfeited"])
    return None
