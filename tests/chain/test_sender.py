"""The sender, against a mempool that holds, drops, reorganises and refuses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.chain.support import QUICK, Clock, MemoryLog, sender_of
from tests.rpcs.proxy import Proxy
from validator.chain.devchain import DevChain
from validator.chain.errors import (
    FeeTooHigh,
    InsufficientFunds,
    IntentConflict,
    NonceTaken,
    NotMinedYet,
    Reverted,
    RpcFault,
    SignerFault,
)
from validator.chain.fees import GWEI, Policy
from validator.chain.rpc import connect
from validator.chain.sender import Sender
from validator.chain.signer import LocalSigner
from validator.chain.transactions import Attempt, Intent, Outcome, Settled
from validator.chain.types import Call

# Deploys nothing; runs `revert(0, 0)`.
REVERTING_CODE = bytes.fromhex("5f5ffd")


@pytest.fixture
def held() -> Iterator[DevChain]:
    """A chain whose mempool is mined only on request."""
    with DevChain(block_seconds=0, hold=True) as running:
        yield running


def gift(chain: DevChain, value: int = 1) -> Call:
    return Call(chain.keys[9].address, b"", value)


def balance(chain: DevChain) -> int:
    return int(connect(chain.url).eth.get_balance(chain.keys[9].address)) - 10**24


def intent_of(log: MemoryLog, sender: Sender, key: str) -> Intent:
    found = log.find(sender.chain_id, sender.address, key)
    assert found is not None
    return found.intent if isinstance(found, Settled) else found


def test_send__the_same_intent_twice__is_done_once(chain: DevChain) -> None:
    sender = sender_of(chain)
    first = sender.send(gift(chain), "gift")
    second = sender.send(gift(chain), "gift")
    assert first == second
    assert balance(chain) == 1


def test_send__the_same_intent_after_it_is_final__returns_its_receipt(chain: DevChain) -> None:
    log = MemoryLog()
    sender = sender_of(chain, log=log)
    first = sender.send(gift(chain), "gift")
    chain.mine(3)
    assert sender.resume() == ()
    assert isinstance(log.find(sender.chain_id, sender.address, "gift"), Settled)
    assert sender.send(gift(chain), "gift") == first
    assert balance(chain) == 1


def test_resume__final_but_not_scanned_yet__is_settled_once_a_rollback_would_reach_it(chain: DevChain) -> None:
    log = MemoryLog(scanned=0)
    sender = sender_of(chain, log=log)
    block = sender.send(gift(chain), "gift").block
    chain.mine(5)
    assert [intent.key for intent in sender.resume()] == ["gift"]
    log.scanned = block
    assert sender.resume() == ()


def test_send__another_call_under_a_known_intent__is_refused(chain: DevChain) -> None:
    sender = sender_of(chain)
    sender.send(gift(chain), "gift")
    with pytest.raises(IntentConflict, match="gift is journalled with another call at nonce 0"):
        sender.send(gift(chain, 2), "gift")


def test_send__not_mined_in_time__waits_at_its_nonce_and_goes_on(held: DevChain) -> None:
    log = MemoryLog()
    sender = sender_of(held, log=log)
    with pytest.raises(NotMinedYet, match="gift was not mined within 1 s: it waits at nonce 0"):
        sender.send(gift(held), "gift", timeout=1)
    with pytest.raises(NotMinedYet):
        sender.send(gift(held), "gift", timeout=1)
    assert [intent.nonce for intent in log.unsettled(sender.chain_id, sender.address)] == [0]
    held.mine()
    assert sender.send(gift(held), "gift", timeout=1).succeeded
    assert balance(held) == 1


def test_send__several_intents_waiting__get_consecutive_nonces(held: DevChain) -> None:
    log = MemoryLog()
    sender = sender_of(held, log=log)
    for key in ("a", "b", "c"):
        with pytest.raises(NotMinedYet):
            sender.send(gift(held), key, timeout=0)
    assert [i.nonce for i in log.unsettled(sender.chain_id, sender.address)] == [0, 1, 2]
    held.mine()
    assert balance(held) == 3


def test_send__waiting_too_long__is_replaced_at_the_same_nonce_with_higher_fees(held: DevChain) -> None:
    log = MemoryLog()
    sender = sender_of(held, log=log)
    with pytest.raises(NotMinedYet):
        sender.send(gift(held), "gift", timeout=12)
    attempts = intent_of(log, sender, "gift").attempts
    assert len(attempts) == 3
    for earlier, later in pairwise(attempts):
        assert later.fees.max_fee * 100 >= earlier.fees.max_fee * 110
        assert later.fees.priority_fee * 100 >= earlier.fees.priority_fee * 110
    held.mine()
    receipt = sender.send(gift(held), "gift")
    assert receipt.transaction_hash == attempts[-1].hash
    assert balance(held) == 1


def test_resume__signer_is_away_when_a_bid_should_rise__the_old_one_is_sent_again(held: DevChain) -> None:
    class Leaving(LocalSigner):
        away = False

        def sign_transaction(self, transaction: Mapping[str, Any]) -> bytes:
            if self.away:
                raise SignerFault("the signer failed: connection refused")
            return super().sign_transaction(transaction)

    log, clock, signer = MemoryLog(), Clock(), Leaving(held.keys[0].secret)
    sender = Sender(connect(held.url), signer, log, QUICK, clock=clock, pause=clock.pause)
    for key in ("gift-1", "gift-2"):
        with pytest.raises(NotMinedYet):
            sender.send(gift(held), key, timeout=1)
    signer.away = True
    clock.now += 100
    assert [len(intent.attempts) for intent in sender.resume()] == [1, 1]
    signer.away = False
    clock.now += 100
    assert [len(intent.attempts) for intent in sender.resume()] == [2, 1]


def test_send__mined_by_a_higher_bid_of_the_same_call__returns_that_receipt(held: DevChain) -> None:
    log = MemoryLog()
    sender = sender_of(held, log=log)
    waits = sender._pause

    def mine_after_a_bump(seconds: float) -> None:
        waits(seconds)
        if len(intent_of(log, sender, "gift").attempts) == 2:
            held.mine()

    sender._pause = mine_after_a_bump
    receipt = sender.send(gift(held), "gift", timeout=30)
    assert receipt.transaction_hash == intent_of(log, sender, "gift").attempts[1].hash


def test_send__an_earlier_attempt_is_mined_after_all__is_found(held: DevChain) -> None:
    log = MemoryLog()
    sender = sender_of(held, log=log)
    with pytest.raises(NotMinedYet):
        sender.send(gift(held), "gift", timeout=6)
    first, second = intent_of(log, sender, "gift").attempts
    held.clear_mempool()
    connect(held.url).eth.send_raw_transaction(first.raw)
    held.mine()
    assert sender.send(gift(held), "gift").transaction_hash == first.hash != second.hash


def test_send__stuck_at_the_fee_cap__is_not_bumped_beyond_it(held: DevChain) -> None:
    log = MemoryLog()
    sender = sender_of(held, log=log, policy=replace(QUICK, fee_cap=int(3.1 * GWEI)))
    with pytest.raises(NotMinedYet):
        sender.send(gift(held), "gift", timeout=30)
    attempts = intent_of(log, sender, "gift").attempts
    assert max(attempt.fees.max_fee for attempt in attempts) <= int(3.1 * GWEI)


def test_send__gas_dearer_than_the_cap__is_refused_before_anything_is_journalled(chain: DevChain) -> None:
    log = MemoryLog()
    sender = sender_of(chain, log=log, policy=Policy(fee_cap=GWEI))
    with pytest.raises(FeeTooHigh, match=r"the cap is 1\.000: wait, or raise the cap"):
        sender.send(gift(chain), "gift")
    assert log.entries == []


def test_resume__crash_between_journal_and_send__sends_what_was_journalled(chain: DevChain) -> None:
    class Crash(Exception):
        pass

    class CrashingLog(MemoryLog):
        def prepare(self, intent: Intent) -> None:
            super().prepare(intent)
            raise Crash

    crashing = CrashingLog()
    with pytest.raises(Crash):
        sender_of(chain, log=crashing).send(gift(chain), "gift")
    assert balance(chain) == 0
    restarted_log = MemoryLog(crashing.entries)
    restarted = sender_of(chain, log=restarted_log)
    restarted.resume()
    assert balance(chain) == 1
    receipt = restarted.send(gift(chain), "gift")
    assert receipt.transaction_hash == intent_of(restarted_log, restarted, "gift").attempts[0].hash
    assert balance(chain) == 1


def test_resume__mempool_lost_everything__sends_it_again_in_order(held: DevChain) -> None:
    log = MemoryLog()
    sender = sender_of(held, log=log)
    for key in ("a", "b"):
        with pytest.raises(NotMinedYet):
            sender.send(gift(held), key, timeout=0)
    held.clear_mempool()
    restarted = sender_of(held, log=log)
    assert len(restarted.resume()) == 2
    held.mine()
    assert balance(held) == 2


def test_resume__reorganisation_drops_a_mined_transaction__it_is_mined_again(chain: DevChain) -> None:
    log, clock = MemoryLog(), Clock()
    sender = Sender(connect(chain.url), LocalSigner(chain.keys[0].secret), log, QUICK, clock=clock, pause=clock.pause)
    first = sender.send(gift(chain), "gift")
    chain.reorganise(1)
    assert balance(chain) == 0
    clock.now += QUICK.bump_seconds
    sender.resume()
    assert balance(chain) == 1
    again = sender.send(gift(chain), "gift")
    assert again.block_hash != first.block_hash
    assert intent_of(log, sender, "gift").nonce == 0


def test_resume__nonce_gap_below_what_waits__is_filled(held: DevChain) -> None:
    log = MemoryLog()
    sender = sender_of(held, log=log)
    with pytest.raises(NotMinedYet):
        sender.send(gift(held), "gift", timeout=0)
    waiting = log.entries.pop()
    assert isinstance(waiting, Intent)
    held.clear_mempool()
    other = sender_of(held, log=MemoryLog())
    with pytest.raises(NotMinedYet):
        other.send(gift(held), "x", timeout=0)
    with pytest.raises(NotMinedYet):
        other.send(gift(held), "y", timeout=0)
    higher = other._log.entries[1]  # type: ignore[attr-defined]
    log.entries.append(higher)
    held.clear_mempool()
    restarted = sender_of(held, log=log)
    restarted.resume()
    held.mine()
    assert balance(held) == 1
    assert {intent.key for intent in restarted.resume()} >= {"y", "fill-gap/0"}


def test_send__nonce_used_by_another_program__is_reported_once_final_and_can_be_sent_anew(held: DevChain) -> None:
    log = MemoryLog()
    sender = sender_of(held, log=log)
    with pytest.raises(NotMinedYet):
        sender.send(gift(held), "gift", timeout=0)
    held.clear_mempool()
    foreign = sender_of(held)
    with pytest.raises(NotMinedYet):
        foreign.send(gift(held, 5), "foreign", timeout=0)
    held.mine(3)
    with pytest.raises(NonceTaken, match=r"nonce 0 of .* meant for gift, was used by another program"):
        sender.send(gift(held), "gift", timeout=5)
    with pytest.raises(NotMinedYet):
        sender.send(gift(held), "gift", timeout=0)
    assert intent_of(log, sender, "gift").nonce == 1


def test_resume__endpoint_counts_nonces_that_nobody_used__the_intent_waits_and_is_done_once(held: DevChain) -> None:
    log, clock = MemoryLog(), Clock()
    with Proxy(held.url) as endpoint:
        signer = LocalSigner(held.keys[0].secret)
        sender = Sender(connect(endpoint.url), signer, log, QUICK, clock=clock, pause=clock.pause)
        with pytest.raises(NotMinedYet):
            sender.send(gift(held), "gift", timeout=0)
        endpoint.only(nonce_ahead=1.0)
        for _ in range(3):
            with suppress(RpcFault):
                sender.resume()
        assert isinstance(log.find(sender.chain_id, sender.address, "gift"), Intent)
        endpoint.only()
        held.mine(3)
        sender.resume()
        assert sender.send(gift(held), "gift").succeeded
    assert balance(held) == 1


def test_send__endpoint_counts_a_hundred_nonces_that_the_journal_does_not_know__is_refused(held: DevChain) -> None:
    log = MemoryLog()
    sender = sender_of(held, log=log)
    with pytest.raises(NotMinedYet):
        sender.send(gift(held), "gift", timeout=0)
    sender._pool.everywhere = lambda method, params: ["0x64"]  # type: ignore[method-assign]
    with pytest.raises(RpcFault, match=r"counts 100 transactions of .*, the journal 1: another program uses this key"):
        sender.next_nonce()


def test_resume__gas_rises_above_the_cap_while_waiting__does_not_bid_and_goes_on_when_it_falls(held: DevChain) -> None:
    log, clock = MemoryLog(), Clock()
    with Proxy(held.url) as endpoint:
        signer = LocalSigner(held.keys[0].secret)
        sender = Sender(connect(endpoint.url), signer, log, QUICK, clock=clock, pause=clock.pause)
        with pytest.raises(NotMinedYet):
            sender.send(gift(held), "gift", timeout=0)
        endpoint.only(fees=1.0)
        with capture_logs() as said:
            for _ in range(4):
                clock.now += QUICK.bump_seconds
                sender.resume()
        assert len(intent_of(log, sender, "gift").attempts) == 1
        assert [line["event"] for line in said] == ["waiting for cheaper gas"]
        endpoint.only()
        clock.now += QUICK.bump_seconds
        sender.resume()
        assert len(intent_of(log, sender, "gift").attempts) == 2


def test_send__call_that_reverts__is_never_journalled(chain: DevChain) -> None:
    log = MemoryLog()
    sender = sender_of(chain, log=log)
    with pytest.raises(Reverted, match="refused without a reason"):
        sender.send(Call(None, REVERTING_CODE), "deploy")
    assert log.entries == []


def test_send__reverts_only_when_mined__says_so_and_may_be_sent_again_when_final(held: DevChain) -> None:
    # Creation code that reverts from block 3 on: NUMBER PUSH1 3 GT PUSH1 10 JUMPI PUSH0 PUSH0 REVERT JUMPDEST STOP.
    code = bytes.fromhex("43600311600a575f5ffd5b00")
    log = MemoryLog()
    sender = sender_of(held, log=log)
    with pytest.raises(NotMinedYet):
        sender.send(Call(None, code), "deploy", timeout=0)
    held.mine(3, empty=True)
    held.mine()
    with pytest.raises(Reverted):
        sender.send(Call(None, code), "deploy")
    held.mine(2)
    sender.resume()
    settled = log.find(sender.chain_id, sender.address, "deploy")
    assert isinstance(settled, Settled)
    assert settled.outcome == Outcome.REVERTED


def test_send__overtaken_while_stuck__is_cancelled_at_its_nonce(held: DevChain) -> None:
    code = bytes.fromhex("43600311600a575f5ffd5b00")  # reverts from block 3 on, as above
    log = MemoryLog()
    sender = sender_of(held, log=log)
    with pytest.raises(NotMinedYet):
        sender.send(Call(None, code), "deploy", timeout=4)
    held.mine(4, empty=True)
    with pytest.raises(NotMinedYet):
        sender.send(Call(None, code), "deploy", timeout=2)
    call, cancel = intent_of(log, sender, "deploy").attempts
    held.mine()
    receipt = connect(held.url).eth.get_transaction_receipt(cancel.hash)
    assert receipt["status"] == 1
    assert receipt["to"] == sender.address
    assert receipt["gasUsed"] == 21_000
    with pytest.raises(Reverted):
        sender.send(Call(None, code), "deploy")
    held.mine(2)
    sender.resume()
    settled = log.find(sender.chain_id, sender.address, "deploy")
    assert isinstance(settled, Settled)
    assert (settled.outcome, settled.transaction_hash) == (Outcome.REVERTED, cancel.hash)
    assert call.hash != cancel.hash


def test_send__empty_account__names_the_account_and_the_remedy(chain: DevChain) -> None:
    poor = LocalSigner(b"\x77" * 32)
    sender = Sender(connect(chain.url), poor, MemoryLog(), QUICK, pause=lambda _: None)
    with pytest.raises(InsufficientFunds, match=f"{poor.address} holds 0 wei, gift may need [0-9]+: send it"):
        sender.send(gift(chain, 0), "gift")
    with pytest.raises(InsufficientFunds, match=f"{poor.address} does not hold the 7 wei"):
        sender.send(gift(chain, 7), "gift")


def test_send__endpoint_down__is_an_rpc_fault_and_journals_nothing() -> None:
    log = MemoryLog()
    with DevChain(block_seconds=0) as chain:
        sender = sender_of(chain, log=log)
        call = gift(chain)
    with pytest.raises(RpcFault, match="connection refused"):
        sender.send(call, "gift")
    assert log.entries == []


def test_replaced__is_journalled_before_it_is_broadcast(held: DevChain) -> None:
    class Crash(Exception):
        pass

    class CrashingLog(MemoryLog):
        def replaced(self, intent: Intent, attempt: Attempt) -> None:
            super().replaced(intent, attempt)
            raise Crash

    log = CrashingLog()
    sender = sender_of(held, log=log)
    with pytest.raises(Crash):
        sender.send(gift(held), "gift", timeout=6)
    first, second = intent_of(log, sender, "gift").attempts
    held.mine()
    w3 = connect(held.url)
    assert w3.eth.get_transaction_receipt(first.hash)["status"] == 1
    assert first.fees.max_fee < second.fees.max_fee
