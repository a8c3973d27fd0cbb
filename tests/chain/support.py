"""A journal in memory, a clock that obeys, and senders on the embedded chain."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from validator.chain.devchain import DevChain
from validator.chain.fees import Policy
from validator.chain.rpc import connect
from validator.chain.sender import Sender
from validator.chain.signer import LocalSigner
from validator.chain.transactions import Attempt, Intent, Outcome, Settled


@dataclass
class MemoryLog:
    """TransactionLog with the uniqueness rules of the protocol, and a record of every write."""

    entries: list[Intent | Settled] = field(default_factory=list)
    scanned: int | None = None

    def horizon(self) -> int | None:
        return self.scanned

    def find(self, chain_id: int, sender: str, key: str) -> Intent | Settled | None:
        found = [e for e in self.entries if self._id(e) == (chain_id, sender) and self._intent(e).key == key]
        return found[-1] if found else None

    def unsettled(self, chain_id: int, sender: str) -> list[Intent]:
        mine = [e for e in self.entries if isinstance(e, Intent) and self._id(e) == (chain_id, sender)]
        return sorted(mine, key=lambda intent: intent.nonce)

    def next_nonce(self, chain_id: int, sender: str) -> int:
        settled = [e for e in self.entries if isinstance(e, Settled) and self._id(e) == (chain_id, sender)]
        return max((e.intent.nonce + 1 for e in settled), default=0)

    def prepare(self, intent: Intent) -> None:
        present = self.find(intent.chain_id, intent.sender, intent.key)
        assert present is None or (isinstance(present, Settled) and present.outcome != Outcome.MINED), "key in use"
        open_nonces = [i.nonce for i in self.unsettled(intent.chain_id, intent.sender)]
        assert intent.nonce not in open_nonces, "nonce in use"
        self.entries.append(intent)

    def replaced(self, intent: Intent, attempt: Attempt) -> None:
        index = self._index(intent)
        stored = self.entries[index]
        assert isinstance(stored, Intent)
        self.entries[index] = replace(stored, attempts=(*stored.attempts, attempt))

    def settled(self, intent: Intent, outcome: Outcome, transaction_hash: bytes | None, block: int | None) -> None:
        index = self._index(intent)
        stored = self.entries[index]
        assert isinstance(stored, Intent), "settled twice"
        self.entries[index] = Settled(stored, outcome, transaction_hash)

    def _index(self, intent: Intent) -> int:
        for index, entry in enumerate(self.entries):
            held = self._intent(entry)
            if isinstance(entry, Intent) and (held.key, held.nonce) == (intent.key, intent.nonce):
                return index
        raise AssertionError(f"{intent.key} is not in the journal")

    @staticmethod
    def _intent(entry: Intent | Settled) -> Intent:
        return entry.intent if isinstance(entry, Settled) else entry

    @classmethod
    def _id(cls, entry: Intent | Settled) -> tuple[int, str]:
        return cls._intent(entry).chain_id, cls._intent(entry).sender


class Clock:
    """A clock that moves only while somebody waits on it, or is told to."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.now += seconds


QUICK = Policy(poll_seconds=0.25, bump_seconds=5.0)


def sender_of(chain: DevChain, index: int = 0, log: MemoryLog | None = None, policy: Policy = QUICK) -> Sender:
    """A sender for the chain's key ``index`` whose waits take no time."""
    clock = Clock()
    return Sender(
        connect(chain.url),
        LocalSigner(chain.keys[index].secret),
        log if log is not None else MemoryLog(),
        policy,
        clock=clock,
        pause=clock.pause,
    )
