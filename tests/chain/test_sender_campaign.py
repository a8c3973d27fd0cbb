"""Whatever happens between key and chain, every intent takes effect exactly once."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from itertools import groupby

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.chain.support import QUICK, Clock, MemoryLog
from validator.chain.devchain import DevChain
from validator.chain.errors import SendError
from validator.chain.rpc import connect
from validator.chain.sender import Sender
from validator.chain.signer import LocalSigner
from validator.chain.transactions import Attempt, Intent, Outcome, Settled
from validator.chain.types import Call

INTENTS = 4


class Crash(Exception):
    """The process ends here."""


@dataclass
class CrashingLog(MemoryLog):
    """Dies, when told to, right after something was written: the worst moment, as nothing was sent yet."""

    armed: bool = field(default=False)

    def prepare(self, intent: Intent) -> None:
        super().prepare(intent)
        self._die()

    def replaced(self, intent: Intent, attempt: Attempt) -> None:
        super().replaced(intent, attempt)
        self._die()

    def _die(self) -> None:
        if self.armed:
            self.armed = False
            raise Crash


@dataclass
class World:
    """A held chain, one key, and its journal, which outlives every sender."""

    chain: DevChain
    log: CrashingLog = field(default_factory=CrashingLog)
    clock: Clock = field(default_factory=Clock)
    wanted: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        signer = LocalSigner(self.chain.keys[0].secret)
        w3 = connect(self.chain.url)
        self.sender = Sender(w3, signer, self.log, QUICK, clock=self.clock, pause=self.clock.pause)

    def send(self, index: int) -> None:
        self.wanted.add(index)
        # A gift of 2^index: the balance in binary tells which were made, and none can hide that was made twice.
        with suppress(SendError):
            self.sender.send(Call(self.chain.keys[9].address, b"", 1 << index), f"gift/{index}", timeout=0)

    def act(self, action: tuple[str, int]) -> None:
        name, number = action
        try:
            match name:
                case "send":
                    self.send(number % INTENTS)
                case "wait":
                    self.clock.now += QUICK.bump_seconds
                    self.sender.resume()
                case "mine":
                    self.chain.mine(1 + number % 3)
                case "empty":
                    self.chain.mine(empty=True)
                case "forget":
                    self.chain.clear_mempool()
                case "reorganise":
                    # No deeper than finality: what is final stays.
                    self.chain.reorganise(min(2, int(connect(self.chain.url).eth.block_number)))
                case "crash":
                    self.log.armed = True
        except Crash:
            self.restart()

    def settle(self) -> None:
        """Keep wanting what was wanted until all of it is final."""
        self.log.armed = False
        for _ in range(20):
            for index in sorted(self.wanted):
                self.send(index)
            self.clock.now += QUICK.bump_seconds
            self.sender.resume()
            if {intent.key for intent in self.done()} == {f"gift/{index}" for index in self.wanted}:
                return
            self.chain.mine(2)

    def done(self) -> list[Intent]:
        return [e.intent for e in self.log.entries if isinstance(e, Settled) and e.outcome == Outcome.MINED]


ACTIONS = st.tuples(
    st.sampled_from(["send", "send", "wait", "mine", "empty", "forget", "reorganise", "crash"]), st.integers(0, 11)
)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(ACTIONS, min_size=6, max_size=24))
# The first attempt is mined although a second one was journalled.
@example([("send", 0), ("crash", 0), ("wait", 0), ("mine", 0)])
# Seen in a block, and gone from the next one's chain.
@example([("send", 0), ("mine", 0), ("send", 0), ("reorganise", 0)])
@example([("send", 0), ("send", 1), ("mine", 0), ("wait", 0), ("reorganise", 0), ("forget", 0), ("send", 2)])
def test_sender__crashes_losses_and_reorganisations__every_intent_is_done_exactly_once(
    actions: list[tuple[str, int]],
) -> None:
    with DevChain(block_seconds=0, hold=True) as chain:
        world = World(chain)
        for action in actions:
            world.act(action)
        world.settle()
        given_away = int(connect(chain.url).eth.get_balance(chain.keys[9].address)) - 10**24  # type: ignore[arg-type]
    assert given_away == sum(1 << index for index in world.wanted)
    intents = [entry.intent if isinstance(entry, Settled) else entry for entry in world.log.entries]
    for _, same in groupby(sorted(intents, key=lambda intent: intent.key), key=lambda intent: intent.key):
        assert len(list(same)) == 1, "one intent, two nonces"
    assert len({intent.nonce for intent in intents}) == len(intents)
