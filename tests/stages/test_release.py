"""Pins: held until a round is beyond dispute, let go of then, and never lost to a kill in between."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from validator.content import Cid, LayeredStore, LocalStore
from validator.journal import Journal
from validator.journal.database import Mark, Row
from validator.stages import fetch, peers, release
from validator.stages.node import Node

ZERO = bytes(32)
EXIT, DEADLINE = 1000, 5000
A, B = "0x" + "aa" * 20, "0x" + "bb" * 20


class Case:
    """A journal with the events that a test tells, a store, and a node that knows only these."""

    def __init__(self, folder: Path) -> None:
        self.local = LocalStore(folder / "store")
        self.journal = Journal(folder / "journal.sqlite")
        self.block = 0
        nothing = cast("Any", None)
        self.node = Node(nothing, nothing, nothing, nothing, self.journal, LayeredStore([self.local]))

    def tell(self, name: str, time: int = 1, **args: Any) -> None:
        self.block += 1
        row = Row(self.block, 0, ZERO, "any", name, args)
        self.journal.record([row], Mark(self.block, self.block.to_bytes(32, "big"), time))

    def clock(self, time: int) -> None:
        self.block += 1
        self.journal.record([], Mark(self.block, self.block.to_bytes(32, "big"), time))

    def contribute(self, number: int, data: bytes, contributor: str = A) -> Cid:
        cid = self.local.put(data)
        self.tell(
            "ContributionSubmitted",
            id=number,
            contributor=contributor,
            digest=cid.digest,
            codec=cid.codec_byte,
            size=len(data),
            keyEpoch=1,
        )
        return cid

    def close(self, number: int, first: int, end: int) -> None:
        self.tell("RoundOpened", round=number, manifest=ZERO)
        self.tell("RoundClosed", round=number, firstId=first, endId=end, pool=0, totalWeight=1, seedBlock=1)
        deadlines = {"reportDeadline": 1, "commitDeadline": 2, "attestDeadline": DEADLINE}
        self.tell("SeedDrawn", round=number, seed=b"s" * 32, beacon=b"b" * 32, **deadlines)
        self.node.exit_delays[number] = EXIT

    def finalise(self, number: int, evidence: bytes = b"e" * 32) -> None:
        self.tell("RoundFinalised", round=number, attestation={"evidence": evidence}, digest=b"d" * 32)


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    made = Case(tmp_path)
    yield made
    made.journal.close()


def test_run__round_under_dispute__holds_everything(case: Case) -> None:
    cid = case.contribute(1, b"one")
    case.close(1, 1, 2)
    for moment in (DEADLINE - 1, DEADLINE + 1, DEADLINE + EXIT):
        case.clock(moment)
        release.run(case.node)
        assert case.local.pins() == [cid]
    case.finalise(1)
    case.clock(DEADLINE + EXIT)
    release.run(case.node)
    assert case.local.pins() == [cid]


def test_run__round_beyond_dispute__lets_go_once_and_says_so_in_the_journal(case: Case) -> None:
    case.contribute(1, b"one")
    case.close(1, 1, 2)
    case.finalise(1)
    case.clock(DEADLINE + EXIT + 1)
    release.run(case.node)
    assert case.local.pins() == []
    assert case.journal.step(1, 0, "released") is not None
    again = case.local.put(b"one")
    release.run(case.node)
    assert case.local.pins() == [again]


def test_run__content_let_go_of_and_submitted_again__is_not_taken_for_held(case: Case) -> None:
    """Else every validator would report what nobody has, and no round that holds it could ever be judged."""
    cid = case.contribute(1, b"one")
    case.close(1, 1, 2)
    case.node.journal.set_content(cid.digest, cid.codec_byte, 3, "fetched", 1, "", 0.0)
    (first,) = case.node.chronicle.submissions(1, 2)
    assert fetch.available(case.node, first)
    case.finalise(1)
    case.clock(DEADLINE + EXIT + 1)
    release.run(case.node)
    case.node.let_go()
    assert case.node.held == set()
    assert case.local.sweep(grace=-1) > 0
    case.tell("RoundOpened", round=2, manifest=ZERO)
    case.tell("ContributionSubmitted", id=2, contributor=B, digest=cid.digest, codec=cid.codec_byte, size=3, keyEpoch=1)
    (again,) = case.node.chronicle.submissions(2)
    assert not fetch.available(case.node, again)


def test_run__operator_keeps_longer__holds_for_so_long(case: Case) -> None:
    case.node.keep_seconds = 500
    case.contribute(1, b"one")
    case.close(1, 1, 2)
    case.finalise(1)
    case.clock(DEADLINE + EXIT + 500)
    release.run(case.node)
    assert len(case.local.pins()) == 1
    case.clock(DEADLINE + EXIT + 501)
    release.run(case.node)
    assert case.local.pins() == []


def test_run__same_bytes_in_a_round_under_way__stay(case: Case) -> None:
    cid = case.contribute(1, b"shared")
    case.close(1, 1, 2)
    case.finalise(1)
    case.contribute(2, b"shared", contributor=B)
    case.close(2, 2, 3)
    case.clock(DEADLINE + EXIT + 1)
    release.run(case.node)
    assert case.local.pins() == [cid]


def test_run__same_bytes_submitted_to_the_open_round__stay(case: Case) -> None:
    cid = case.contribute(1, b"shared")
    case.close(1, 1, 2)
    case.finalise(1)
    case.contribute(2, b"shared", contributor=B)
    case.clock(DEADLINE + EXIT + 1)
    release.run(case.node)
    assert case.local.pins() == [cid]


def test_run__abandoned_round__holds_what_the_next_one_takes_over(case: Case) -> None:
    cid = case.contribute(1, b"one")
    case.close(1, 1, 2)
    case.tell("RoundAbandoned", round=1)
    case.clock(DEADLINE + EXIT + 1)
    release.run(case.node)
    assert case.local.pins() == [cid]
    case.close(2, 1, 2)
    case.clock(DEADLINE + EXIT + 1)
    release.run(case.node)
    assert case.local.pins() == [cid]
    case.finalise(2)
    case.clock(DEADLINE + EXIT + 1)
    release.run(case.node)
    assert case.local.pins() == []


def test_run__pins_it_does_not_know__stay(case: Case) -> None:
    case.contribute(1, b"one")
    ours = case.local.put(b"evidence of our own")
    case.close(1, 1, 2)
    case.finalise(1)
    case.clock(DEADLINE + EXIT + 1)
    release.run(case.node)
    assert case.local.pins() == [ours]


def test_run__many_pins_and_little_time__goes_on_at_the_next_tick(case: Case) -> None:
    for number in range(1, 30):
        case.contribute(number, str(number).encode())
    case.close(1, 1, 30)
    case.finalise(1)
    case.clock(DEADLINE + EXIT + 1)
    ticks = iter(range(10**6))
    case.node.clock = lambda: next(ticks) / 2  # every look is half a second later
    release.run(case.node)
    left = len(case.local.pins())
    assert 0 < left < 29
    assert case.journal.step(1, 0, "released") is None
    for _ in range(20):
        release.run(case.node)
    assert case.local.pins() == []
    assert case.journal.step(1, 0, "released") is not None


def test_sweep__after_a_release__frees_only_what_nothing_pins(case: Case) -> None:
    case.contribute(1, b"one" * 1000)
    kept = case.local.put(b"two" * 1000)
    case.close(1, 1, 2)
    case.finalise(1)
    case.clock(DEADLINE + EXIT + 1)
    release.run(case.node)
    assert release.sweep(case.node, grace=-1.0) == 3000
    assert case.local.read(kept, 3000) == b"two" * 1000


KILLED = """
import os, signal, sys
from pathlib import Path
from validator.content import LocalStore

store, after = LocalStore(sys.argv[1]), int(sys.argv[2])
unlink, count = Path.unlink, 0
def dying(self, *rest, **more):
    global count
    count += 1
    if count > after:
        os.kill(os.getpid(), signal.SIGKILL)
    return unlink(self, *rest, **more)
Path.unlink = dying
store.sweep(grace=-1.0)
"""


@pytest.mark.parametrize("after", [0, 1, 5])
def test_sweep__killed_at_any_deletion__loses_nothing_pinned_and_ends_the_next_time(tmp_path: Path, after: int) -> None:
    store = LocalStore(tmp_path)
    kept = store.put(os.urandom(3 << 20))
    whole = store.usage()
    for _ in range(3):
        store.unpin(store.put(os.urandom(2 << 20)))

    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), str(after)], timeout=60, check=False)

    assert done.returncode == -signal.SIGKILL
    assert store.has(kept)
    store.sweep(grace=-1.0)
    assert store.usage() == whole
    assert len(store.read(kept, 3 << 20)) == 3 << 20
    store.put(b"the ledger counts right again")
    assert int((tmp_path / ".lock").read_bytes()) == store.usage()


# --- Peers ---


def test_announced__last_url_of_those_inside__counts(case: Case) -> None:
    for operator in (A, B):
        case.tell("ValidatorJoined", operator=operator, signer=operator, hpkeKey=ZERO, stake=1)
    case.tell("PeerAnnounced", operator=A, url="https://old.example.org")
    case.tell("PeerAnnounced", operator=A, url="https://new.example.org")
    case.tell("PeerAnnounced", operator=B, url="https://b.example.org")
    facts = {name: case.node.chronicle.facts(name) for name in peers.FACTS}
    assert peers.announced(facts) == {A: "https://new.example.org", B: "https://b.example.org"}
    case.tell("PeerAnnounced", operator=A, url="")
    case.tell("StakeWithdrawn", operator=B, amount=1)
    facts = {name: case.node.chronicle.facts(name) for name in peers.FACTS}
    assert peers.announced(facts) == {}


def test_in_turn__ourselves_and_doubles__are_left_out_and_the_order_is_our_own() -> None:
    urls = {f"0x{n:040x}": f"https://{n}.example.org" for n in range(200)}
    urls["0x" + "f" * 40] = "https://7.example.org"
    own, other = f"0x{3:040x}", f"0x{4:040x}"
    mine, theirs = peers.in_turn(urls, own), peers.in_turn(urls, other)
    assert own not in mine
    assert len(mine) == len(set(mine.values())) == peers.MOST_PEERS
    assert list(mine) != list(theirs)


def test_run__hostile_urls_on_chain__are_left_out_and_the_rest_is_used(case: Case) -> None:
    hostile = ["http://10.0.0.1", "https://169.254.169.254", "gopher://x", "\x00", "x" * 256, "https://[::1]"]
    for number, url in enumerate([*hostile, "https://good.example.org"]):
        operator = f"0x{number:040x}"
        case.tell("ValidatorJoined", operator=operator, signer=operator, hpkeKey=ZERO, stake=1)
        case.tell("PeerAnnounced", operator=operator, url=url)
    peers.run(case.node)
    assert [source.name for source in case.node.store.sources()][1:] == ["peer:good.example.org"]
