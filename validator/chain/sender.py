"""Brings calls onto the chain with one key: journalled before sent, one nonce for one intent, fees bumped until mined.

    prepare: simulate -> estimate -> choose nonce -> sign -> journal      (a crash from here on loses nothing)
    send:    broadcast -> wait -> bump and broadcast again at the same nonce
    settle:  the receipt's block is final -> outcome into the journal

An intent is unsettled until its block is final, so a reorganisation that drops the transaction only means that it is
broadcast again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, cast

import structlog
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from eth_typing import ChecksumAddress
from eth_utils.crypto import keccak
from hexbytes import HexBytes
from web3 import Web3
from web3.exceptions import TransactionNotFound
from web3.types import BlockIdentifier, TxParams

from validator.chain.errors import (
    FeeTooHigh,
    InsufficientFunds,
    IntentConflict,
    NonceTaken,
    NotMinedYet,
    Reverted,
    RpcFault,
    RpcRefusal,
    SendError,
    SignerFault,
)
from validator.chain.fees import Policy, quote, raised
from validator.chain.finality import heights
from validator.chain.nonces import free_nonce
from validator.chain.rpc import pool_of, understood
from validator.chain.signer import Signer
from validator.chain.transactions import Attempt, Fees, Intent, Outcome, Receipt, Settled, TransactionLog
from validator.chain.types import Call

# State moves between the estimate and the block: a phase may end, a slot may turn from zero.
GAS_MARGIN_PERCENT = 125
# Nonces filled in one go; each costs a transaction.
MOST_FILLED = 16

_HELD_ALREADY = ("already known", "known transaction", "already imported")

_log = structlog.get_logger(__name__)


class Sender:
    """The one sender of ``signer``'s key on one chain. Give each key to one process only: two would fight for nonces.

    Safe to use from several threads. ``clock`` counts seconds and never goes back; ``pause`` waits and may raise to end
    the wait.
    """

    def __init__(
        self,
        w3: Web3,
        signer: Signer,
        log: TransactionLog,
        policy: Policy | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._w3 = w3
        self._pool = pool_of(w3)
        self._signer = signer
        self._log = log
        self._policy = policy or Policy()
        self._clock = clock
        self._pause = pause
        self._lock = threading.RLock()
        self._broadcast_at: dict[bytes, float] = {}
        self._said: set[tuple[str, str]] = set()
        with understood("its chain id"):
            self.chain_id = int(w3.eth.chain_id)

    @property
    def address(self) -> str:
        """The account that pays."""
        return self._signer.address

    def next_nonce(self) -> int:
        """The nonce that the next new intent will get."""
        with self._lock:
            return self._free_nonce()

    def simulate(self, call: Call) -> None:
        """Ask whether ``call`` would succeed now; Reverted says why not. Costs and changes nothing."""
        try:
            with understood("a simulated call"):
                self._w3.eth.call(self._fields(call), "latest")
        except RpcRefusal as refusal:
            if "insufficient funds" in refusal.reason.lower():
                raise InsufficientFunds(f"{self.address} does not hold the {call.value} wei to be sent") from refusal
            raise

    def send(self, call: Call, intent: str, timeout: float = 120.0) -> Receipt:
        """Do ``call`` once under the name ``intent`` and return its receipt when it is in a block.

        An intent that was mined before returns its receipt and sends nothing. One still under way is waited for, at the
        nonce it has. One that reverted or was displaced is prepared anew, once that is final.

        Raises Reverted (by the simulation, or mined without effect), NotMinedYet after ``timeout`` seconds, FeeTooHigh,
        InsufficientFunds, NonceTaken, IntentConflict, and RpcFault when the endpoint fails. After any of them the same
        intent can be sent again.
        """
        deadline = self._clock() + timeout
        with self._lock:
            current = self._current(call, intent)
            if isinstance(current, Receipt):
                return current
        while True:
            with self._lock:
                receipt = self._advance(current.key)
                # With every attempt: the one that was mined may be newer than this call.
                newest = self._stored(current.key)
            if receipt is not None:
                return self._successful(newest, receipt)
            if self._clock() >= deadline:
                raise NotMinedYet(
                    f"{intent} was not mined within {timeout:g} s: it waits at nonce {current.nonce} of {self.address} "
                    "and is sent again on the next try"
                )
            self._pause(self._policy.poll_seconds)

    def resume(self) -> tuple[Intent, ...]:
        """Look after everything unsettled: settle what is final, send what was lost, bump what is stuck.

        Call at start and on every tick. Returns what is still unsettled. RpcFault leaves the rest for the next time.
        """
        with self._lock:
            for intent in self._log.unsettled(self.chain_id, self.address):
                self._look_after(intent)
            self._fill_gaps()
            return tuple(self._log.unsettled(self.chain_id, self.address))

    # An intent on its way

    def _look_after(self, intent: Intent) -> None:
        try:
            self._advance(intent.key)
        except SendError as error:
            _log.warning("transaction not sent", intent=intent.key, nonce=intent.nonce, reason=str(error))

    def _current(self, call: Call, key: str) -> Intent | Receipt:
        found = self._log.find(self.chain_id, self.address, key)
        if found is None or (isinstance(found, Settled) and found.outcome != Outcome.MINED):
            return self._prepare(call, key)
        intent = found.intent if isinstance(found, Settled) else found
        if intent.call != call:
            raise IntentConflict(f"{key} is journalled with another call at nonce {intent.nonce}: name new calls anew")
        return self._settled_receipt(found) if isinstance(found, Settled) else intent

    def _settled_receipt(self, settled: Settled) -> Receipt:
        key, mined = settled.intent.key, settled.transaction_hash
        if mined is None:
            raise NonceTaken(f"{key} lost its nonce {settled.intent.nonce} to another program: send it again")
        receipt = self._receipt(mined)
        if receipt is None:
            raise RpcFault(f"{key} was mined, but the endpoint does not know 0x{mined.hex()}")
        return receipt

    def _prepare(self, call: Call, key: str) -> Intent:
        self.simulate(call)
        gas = self._gas(call)
        fees = quote(self._w3, self._policy)
        self._check_balance(key, gas * fees.max_fee + call.value)
        nonce = self._free_nonce()
        attempt = self._sign(call, nonce, gas, fees)
        intent = Intent(key, self.chain_id, self.address, nonce, call, gas, (attempt,))
        self._log.prepare(intent)
        return intent

    def _advance(self, key: str) -> Receipt | None:
        """Move one unsettled intent on; its receipt if it is in a block. What is concluded from a nonce and a receipt
        that is missing must come from one endpoint: another may be behind.
        """
        return self._pool.consistently(lambda: self._advance_at_one(key))

    def _advance_at_one(self, key: str) -> Receipt | None:
        found = self._log.find(self.chain_id, self.address, key)
        if isinstance(found, Settled):  # by another thread, meanwhile
            return self._settled_receipt(found)
        intent = self._stored(key)
        receipt = self._mined(intent)
        if receipt is not None:
            self._settle_if_final(intent, receipt)
            return receipt
        used = self._count("latest")
        if used > intent.nonce:
            self._displaced_if_final(intent)
            return None
        self._keep_alive(intent, executable=used == intent.nonce)
        # A chain that mines at once, or a receipt that came in between.
        return self._mined(intent)

    def _stored(self, key: str) -> Intent:
        found = self._log.find(self.chain_id, self.address, key)
        if found is None:
            raise SendError(f"the journal lost {key}: restore it before sending anything with {self.address}")
        return found.intent if isinstance(found, Settled) else found

    def _keep_alive(self, intent: Intent, *, executable: bool) -> None:
        newest = intent.attempts[-1]
        sent = self._broadcast_at.get(newest.hash)
        if sent is None:
            self._broadcast(intent, newest)
        elif self._clock() - sent >= self._policy.bump_seconds:
            # Only the next nonce to be mined can be stuck for its fee; those behind it wait for it.
            self._broadcast(intent, self._bumped(intent) if executable else newest)

    def _mined(self, intent: Intent) -> Receipt | None:
        for attempt in reversed(intent.attempts):
            receipt = self._receipt(attempt.hash)
            if receipt is not None:
                return receipt
        return None

    def _settle_if_final(self, intent: Intent, receipt: Receipt) -> None:
        if receipt.block > self._final_height():
            return
        outcome = Outcome.MINED if _done(intent, receipt) else Outcome.REVERTED
        self._log.settled(intent, outcome, receipt.transaction_hash, receipt.block)
        for attempt in intent.attempts:
            self._broadcast_at.pop(attempt.hash, None)
        self._said -= {said for said in self._said if said[1] == intent.key}

    def _final_height(self) -> int:
        """The last final block that a rollback of the journal would find its way back from. What is final beyond that
        is settled later: were the chain reorganised there, nobody would notice that a transaction is gone.
        """
        finalised, horizon = heights(self._w3, self._policy.finality)[1], self._log.horizon()
        return finalised if horizon is None else min(finalised, horizon)

    def _displaced_if_final(self, intent: Intent) -> None:
        height = self._final_height()
        if self._count(height) <= intent.nonce or self._mined(intent) is not None:
            return
        if not self._nonce_is_gone(intent):
            raise RpcFault(f"an endpoint counts nonce {intent.nonce} of {self.address} as used, another one does not")
        self._log.settled(intent, Outcome.DISPLACED, None, height)
        raise NonceTaken(
            f"nonce {intent.nonce} of {self.address}, meant for {intent.key}, was used by another program: "
            "give this node a key of its own"
        )

    def _nonce_is_gone(self, intent: Intent) -> bool:
        """Whether every endpoint agrees that ``intent`` can never be mined: none knows a receipt of it, and all refuse
        it when it is sent once more. Were one count of nonces enough, one wrong answer could do the same thing twice.
        """
        for attempt in intent.attempts:
            receipts = self._pool.everywhere("eth_getTransactionReceipt", [HexBytes(attempt.hash).to_0x_hex()])
            if any(receipt is not None for receipt in receipts):
                return False
        try:
            self._w3.eth.send_raw_transaction(HexBytes(intent.attempts[-1].raw))
        except RpcRefusal as refusal:
            return not any(words in refusal.reason.lower() for words in (*_HELD_ALREADY, "insufficient funds"))
        return False

    def _successful(self, intent: Intent, receipt: Receipt) -> Receipt:
        if _done(intent, receipt):
            return receipt
        # What the state of that block says to the same call is nearly always why: somebody else was first.
        try:
            with understood("a reverted call"):
                self._w3.eth.call(self._fields(intent.call), cast(BlockIdentifier, receipt.block))
        except RpcFault:
            why = "the endpoint cannot say why"
        else:
            why = "the same call succeeds now: it ran out of gas, or was overtaken within its block"
        raise Reverted("", {}, f"{intent.key} was mined without effect (0x{receipt.transaction_hash.hex()}): {why}")

    # Nonces

    def _free_nonce(self) -> int:
        return free_nonce(self._pool, self._log, self.chain_id, self.address)

    def _fill_gaps(self) -> None:
        """If what waits cannot be mined because lower nonces are missing, send nothing to ourselves with those."""
        for _ in range(MOST_FILLED):
            waiting = [intent.nonce for intent in self._log.unsettled(self.chain_id, self.address)]
            missing = self._free_nonce()
            if not waiting or missing >= max(waiting):
                return
            _log.warning("filling a nonce gap", sender=self.address, nonce=missing)
            self._look_after(self._prepare(Call(self.address, b""), f"fill-gap/{missing}"))

    def _count(self, block: int | str) -> int:
        with understood(f"the nonce of {self.address}"):
            return int(self._w3.eth.get_transaction_count(_checksummed(self.address), cast(BlockIdentifier, block)))

    # Fees

    def _check_balance(self, key: str, needed: int) -> None:
        with understood(f"the balance of {self.address}"):
            held = int(self._w3.eth.get_balance(_checksummed(self.address)))
        if held < needed:
            raise InsufficientFunds(f"{self.address} holds {held} wei, {key} may need {needed}: send it the difference")

    def _bumped(self, intent: Intent) -> Attempt:
        newest = intent.attempts[-1]
        try:
            fresh = quote(self._w3, self._policy)
        except FeeTooHigh as dear:
            # A higher bid would not be mined either: wait at this one until gas is cheaper.
            self._say_once("waiting for cheaper gas", intent, str(dear))
            return newest
        fees = raised(newest.fees, fresh)
        if fees.max_fee > self._policy.fee_cap:
            self._say_once("stuck at the fee cap", intent, f"the cap is {self._policy.fee_cap} wei per gas")
            return newest
        call, gas = self._still_useful(intent)
        try:
            attempt = self._sign(call, intent.nonce, gas, fees)
        except SignerFault as away:
            self._say_once("a higher bid cannot be signed", intent, str(away))
            return newest
        self._log.replaced(intent, attempt)
        self._said -= {said for said in self._said if said[1] == intent.key}
        _log.info("fees raised", intent=intent.key, nonce=intent.nonce, max_fee=fees.max_fee)
        return attempt

    def _say_once(self, what: str, intent: Intent, reason: str) -> None:
        if (what, intent.key) not in self._said:
            self._said.add((what, intent.key))
            _log.warning(what, intent=intent.key, nonce=intent.nonce, reason=reason)

    def _still_useful(self, intent: Intent) -> tuple[Call, int]:
        """The call to send again: ``intent``'s, or if that would revert by now, an empty one to free its nonce."""
        try:
            self.simulate(intent.call)
        except Reverted as reason:
            _log.warning("cancelling a call overtaken by events", intent=intent.key, reason=str(reason))
            empty = Call(self.address, b"")
            return empty, self._gas(empty)
        return intent.call, intent.gas

    # The endpoint

    def _fields(self, call: Call) -> TxParams:
        fields: dict[str, Any] = {"from": self.address, "data": HexBytes(call.data), "value": call.value}
        if call.to is not None:
            fields["to"] = call.to
        return cast(TxParams, fields)

    def _gas(self, call: Call) -> int:
        with understood("a gas estimate"):
            return int(self._w3.eth.estimate_gas(self._fields(call))) * GAS_MARGIN_PERCENT // 100

    def _sign(self, call: Call, nonce: int, gas: int, fees: Fees) -> Attempt:
        fields: dict[str, Any] = {
            "type": 2,
            "chainId": self.chain_id,
            "nonce": nonce,
            "gas": gas,
            "maxFeePerGas": fees.max_fee,
            "maxPriorityFeePerGas": fees.priority_fee,
            "value": call.value,
            "data": call.data,
        }
        if call.to is not None:
            fields["to"] = call.to
        raw = self._signer.sign_transaction(fields)
        return Attempt(keccak(raw), raw, fees)

    def _broadcast(self, intent: Intent, attempt: Attempt) -> None:
        try:
            self._w3.eth.send_raw_transaction(HexBytes(attempt.raw))
        except RpcRefusal as refusal:
            self._judge(intent, refusal)
        self._broadcast_at[attempt.hash] = self._clock()

    def _judge(self, intent: Intent, refusal: RpcRefusal) -> None:
        """Refusals that mean "there already" or "later" are none. Nodes differ in their words."""
        words = refusal.reason.lower()
        if any(known in words for known in (*_HELD_ALREADY, "nonce too low")):
            return
        if any(later in words for later in ("underpriced", "less than block base fee", "pool is full", "fee too low")):
            _log.info("not accepted yet", intent=intent.key, nonce=intent.nonce, reason=refusal.reason)
            return
        if "insufficient funds" in words:
            raise InsufficientFunds(f"{self.address} cannot pay for {intent.key}: send it some of the chain's own coin")
        raise SendError(f"{intent.key} (nonce {intent.nonce}) was not accepted: {refusal}") from refusal

    def _receipt(self, transaction_hash: bytes) -> Receipt | None:
        with understood(f"the receipt of 0x{transaction_hash.hex()}"):
            try:
                answer = self._w3.eth.get_transaction_receipt(HexBytes(transaction_hash))
            except TransactionNotFound:
                return None
            return _receipt_of(answer)


def _done(intent: Intent, receipt: Receipt) -> bool:
    """Whether ``receipt`` is of an attempt that did what ``intent`` says, and not of one that only freed its nonce."""
    raw = next(attempt.raw for attempt in intent.attempts if attempt.hash == receipt.transaction_hash)
    return receipt.succeeded and _data_of(raw) == intent.call.data


def _data_of(raw: bytes) -> bytes:
    return bytes(HexBytes(TypedTransaction.from_bytes(HexBytes(raw)).as_dict()["data"]))


def _receipt_of(answer: Any) -> Receipt:  # noqa: ANN401 - web3's TxReceipt, every field checked here
    created = answer.get("contractAddress")
    return Receipt(
        transaction_hash=bytes(answer["transactionHash"]),
        block=int(answer["blockNumber"]),
        block_hash=bytes(answer["blockHash"]),
        succeeded=int(answer["status"]) == 1,
        gas_used=int(answer["gasUsed"]),
        contract_address=str(created) if created else None,
        logs=tuple(answer["logs"]),
    )


def _checksummed(address: str) -> ChecksumAddress:
    return cast(ChecksumAddress, address)
